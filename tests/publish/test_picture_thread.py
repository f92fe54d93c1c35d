"""Pictures are encoded on a thread, newest first, and slots are always released."""

from __future__ import annotations

import select
import threading
from contextlib import closing

import numpy as np
import pytest

from streamseg.publish.picture_thread import PictureThread
from streamseg.ring.frame_ring import FrameRing
from tests.publish.publisher_children import source_frame, tracked_frame, until


class Stage:
    """A ring with frames to encode."""

    def __init__(self):
        self.ring = FrameRing(policy="newest", slots=8, slot_bytes=1 << 16)
        self.writer, self.reader = self.ring.writer(), self.ring.reader("worker")
        self.reader_2 = self.ring.reader("publisher")
        self.reader_2.accept(8)

    def held(self, stream="cam1", luma=100):
        frame_id = self.writer.write(source_frame(luma))
        with self.reader.take() as held:
            assert held.share_with("publisher")
            slot = held.slot
        return tracked_frame(stream, frame_id), self.reader_2.adopt(slot, frame_id)

    def all_free(self):
        return self.ring.counters().held == 0

    def close(self):
        self.ring.close()


@pytest.fixture
def stage():
    with closing(Stage()) as stage:
        yield stage


class Gate:
    """An encoder that reports when it begins, and ends on command."""

    def __init__(self):
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, frame):
        self.begun.release()
        assert self.may_end.acquire(timeout=20)
        return b"jpeg %d" % frame.frame_id


def finished(thread, count=1):
    pictures = []
    until(lambda: pictures.extend(thread.take_finished()) or len(pictures) >= count, "pictures")
    return [(picture.frame.stream, picture.frame.frame_id, picture.jpeg) for picture in pictures]


def test_the_descriptor_tells_and_the_slot_comes_back(stage):
    with closing(PictureThread(lambda frame: bytes(frame.planes[0][0, :1]))) as thread:
        assert thread.take_finished() == []
        assert thread.submit(*stage.held(luma=77))
        assert select.select([thread.fileno()], [], [], 20)[0]
        assert finished(thread) == [("cam1", 0, b"\x4d")]
        assert not select.select([thread.fileno()], [], [], 0)[0]
        assert stage.all_free()


def test_the_newest_of_each_stream_is_encoded(stage):
    gate = Gate()
    with closing(PictureThread(gate)) as thread:
        assert thread.submit(*stage.held("a"))
        assert gate.begun.acquire(timeout=20)
        assert thread.submit(*stage.held("a"))
        assert thread.submit(*stage.held("b"))
        assert not thread.submit(*stage.held("a"))  # pushes frame 1 out, but keeps its turn before b
        gate.may_end.release(3)
        assert finished(thread, 3) == [("a", 0, b"jpeg 0"), ("a", 3, b"jpeg 3"), ("b", 2, b"jpeg 2")]
    until(stage.all_free, "all slots free")


def test_an_error_releases_the_slot_and_the_next_frame_is_encoded(stage, caplog):
    def encode(frame):
        if frame.frame_id < 2:
            raise ValueError("no such picture")
        return b"jpeg"

    with closing(PictureThread(encode)) as thread:
        for _ in range(3):
            thread.submit(*stage.held())
            last = finished(thread)
        assert last == [("cam1", 2, b"jpeg")]
    assert stage.all_free()
    assert caplog.text.count("cannot be encoded") == 1


def test_close_releases_what_waits(stage):
    gate = Gate()
    thread = PictureThread(gate)
    thread.submit(*stage.held("a"))
    assert gate.begun.acquire(timeout=20)
    thread.submit(*stage.held("a"))
    thread.submit(*stage.held("b"))
    gate.may_end.release(3)
    thread.close()
    until(stage.all_free, "all slots free")


def test_the_main_thread_never_waits_for_a_picture(stage):
    gate = Gate()
    with closing(PictureThread(gate)) as thread:
        thread.submit(*stage.held())
        assert gate.begun.acquire(timeout=20)
        for _ in range(50):  # would not return if it waited: the gate is shut
            thread.submit(*stage.held())
            assert thread.take_finished() == []
        assert np.count_nonzero([stage.ring.counters().held == 2]) == 1  # one being encoded, one waiting
        gate.may_end.release(2)
