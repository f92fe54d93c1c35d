"""Messages and ring descriptors travel to a child; a child that does not read blocks no sender."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np

from streamseg.config.schema import StreamConfig
from streamseg.frame import FrameFormat, FrameStamps, SourceFrame
from streamseg.ipc.supervisor_link import STOP, ChildLink, send_message
from streamseg.ipc.supervisor_messages import CloseStream, OpenStream, Report
from streamseg.ring.frame_ring import FrameRing

SETTINGS = StreamConfig(source="scene:simple")


def source_frame(luma: int) -> SourceFrame:
    planes = (np.full((48, 192), luma, np.uint8),)
    return SourceFrame(FrameFormat(64, 48, "rgb24"), planes, FrameStamps(1, "arrival", 1, 2, None, (1, 30)))


def opened(ring: FrameRing, stream: str = "cam") -> OpenStream:
    return OpenStream(stream, SETTINGS, "scene:simple", ring.shape)


def test_a_ring_arrives_with_its_message():
    ours, theirs = multiprocessing.Pipe()
    ring = FrameRing(policy="newest", slots=3, slot_bytes=1 << 16)
    with ours, theirs:
        link = ChildLink(theirs)
        assert link.take_messages() == []
        assert send_message(ours, CloseStream("before"))
        assert send_message(ours, opened(ring), ring.fds)
        assert send_message(ours, CloseStream("after"))
        before, order, after = link.take_messages()
        assert (before, after) == (CloseStream("before"), CloseStream("after"))
        assert isinstance(order, OpenStream)
        assert order.ring is not None
        frame_id = ring.writer().write(source_frame(77))
        reader = order.ring.reader("worker")
        assert reader.wait(5)
        with reader.take() as held:
            assert held.frame.frame_id == frame_id
            assert held.frame.planes[0].max() == 77
        assert ring.counters().pending == 0
        assert not any(os.get_inheritable(fd) for fd in order.ring.fds)
        order.ring.close()
        link.send(Report("ready"))
        assert ours.recv() == Report("ready")
    ring.close()


def test_messages_do_not_hide_the_request_to_stop():
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        link = ChildLink(theirs)
        send_message(ours, CloseStream("cam"))
        assert not link.stop_requested()
        ours.send_bytes(STOP)
        assert link.stop_requested()
        assert link.take_messages() == [CloseStream("cam")]
        assert link.take_messages() == []


def test_a_supervisor_that_dies_in_the_middle_of_a_message_ends_the_link():
    ours, theirs = multiprocessing.Pipe()
    ring = FrameRing(policy="newest", slots=2, slot_bytes=4096)
    with theirs:
        link = ChildLink(theirs)
        send_message(ours, opened(ring))  # and the descriptors never follow
        ours.close()
        assert link.take_messages() == []
        assert link.stop_requested()
    ring.close()


def test_a_child_that_does_not_listen_is_not_waited_for():
    ours, theirs = multiprocessing.Pipe()
    with ours:
        with theirs:
            sent = 0
            while send_message(ours, CloseStream("x" * 64)):
                sent += 1
                assert sent < 100_000
        assert sent > 50
        assert not send_message(ours, CloseStream("cam"))


def test_numbers_of_a_ring_go_on_in_the_next_one():
    first = FrameRing(policy="newest", slots=2, slot_bytes=1 << 16)
    writer = first.writer()
    for _ in range(5):
        writer.write(source_frame(1))
    writer.begin_epoch()
    second = FrameRing(policy="newest", slots=2, slot_bytes=1 << 16, after=first.counters())
    assert second.counters().frames == 5
    assert second.counters().epoch == 1
    assert second.counters().superseded == first.counters().superseded
    assert second.writer().write(source_frame(1)) == 5
    first.close()
    second.close()
