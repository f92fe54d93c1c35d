"""Writer and reader in separate processes, at full speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import zmq

from streamseg.frame import Frame, FrameFormat
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader
from tests.ring import ring_children as children
from tests.ring.ring_children import LARGE, is_whole, take, wait_until

MakeRing = Callable[..., FrameRing]


def stays_whole(ring: FrameRing, frame: Frame) -> bool:
    """Whether a frame stays whole while the writer writes two more."""
    whole = is_whole(frame)
    deadline = time.monotonic() + 60
    while ring.counters().frames < frame.frame_id + 3:
        assert time.monotonic() < deadline, "the writer does not go on"
        whole = whole and is_whole(frame)
    return whole and is_whole(frame)


def take_unprotected(reader: RingReader) -> HeldFrame:
    """Reads a slot without holding it: the control experiment for the test below."""
    held = take(reader)
    held.release()
    return held


@pytest.mark.parametrize("frames", [50, pytest.param(3000, marks=pytest.mark.long)])
@pytest.mark.parametrize("frame_format", [LARGE, None], ids=["one size", "sizes change"])
def test_no_frame_is_ever_torn(
    make_ring: MakeRing, spawn: Callable, frame_format: FrameFormat | None, frames: int
) -> None:
    ring = make_ring("newest", slots=3)
    reader = ring.reader("worker")
    process, line = spawn(children.write_on_and_on, ring, frame_format)
    torn, delivered, last = 0, 0, -1
    while delivered < frames:
        with take(reader) as held:
            torn += not stays_whole(ring, held.frame)
            assert held.frame.frame_id > last
            last = held.frame.frame_id
            delivered += 1
    line.send(b"stop")
    assert line.poll(60)
    written = line.recv()
    process.join(60)
    counters = ring.counters()
    assert torn == 0
    assert counters.frames == written
    assert counters.dropped == written - delivered - counters.pending
    assert counters.held == 0


def test_frames_are_torn_without_holding(make_ring: MakeRing, spawn: Callable) -> None:
    """Shows that the test above can fail."""
    ring = make_ring("newest", slots=3)
    reader = ring.reader("worker")
    spawn(children.write_on_and_on, ring, LARGE)
    deadline = time.monotonic() + 60
    torn = 0
    while torn < 50:
        assert time.monotonic() < deadline, "no torn frame seen: the stress is too weak to show anything"
        torn += not stays_whole(ring, take_unprotected(reader).frame)


def test_policy_every_delivers_all_in_order_to_a_slow_reader(make_ring: MakeRing, spawn: Callable) -> None:
    ring = make_ring("every", slots=3)
    reader = ring.reader("worker")
    process, line = spawn(children.write_on_and_on, ring)
    for expected in range(400):
        # Slow on purpose: as long as the ring is not full, so that the writer has to wait for each slot.
        wait_until(lambda: ring.counters().pending == 3)
        with take(reader) as held:
            assert held.frame.frame_id == expected
            assert held.frame.stamps.pts == expected % 35
            assert is_whole(held.frame)
    line.send(b"stop")
    delivered = 400
    while not line.poll(0):  # it first writes the rest of its round
        if reader.wait(0.01) and (held := reader.take()):
            with held:
                assert held.frame.frame_id == delivered
                delivered += 1
    while held := reader.take():
        with held:
            delivered += 1
    process.join(60)
    assert delivered == line.recv() == ring.counters().frames
    assert ring.counters().dropped == 0


def test_a_frame_wakes_a_poller_beside_other_sockets(make_ring: MakeRing, spawn: Callable) -> None:
    ring = make_ring("newest")
    reader = ring.reader("worker")
    _, line = spawn(children.write_when_told, ring)
    assert line.poll(60)
    assert line.recv() == b"ready"
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as two:
        one.bind("inproc://control")
        two.connect("inproc://control")
        poller = zmq.Poller()
        poller.register(one, zmq.POLLIN)
        poller.register(reader.fileno(), zmq.POLLIN)
        for number in range(1, 51):
            assert dict(poller.poll(0)) == {}
            line.send(number)
            assert dict(poller.poll(60_000)) == {reader.fileno(): zmq.POLLIN}
            with take(reader) as held:
                assert held.frame.stamps.pts == number
            two.send(b"stop")
            assert dict(poller.poll(60_000)) == {one: zmq.POLLIN}
            one.recv()


def test_a_slot_that_comes_free_wakes_the_writer(make_ring: MakeRing, spawn: Callable) -> None:
    """With `every`, the writer waits for each frame; a lost wake-up would end in its timeout of 60 s."""
    ring = make_ring("every", slots=2)
    reader = ring.reader("worker")
    _, line = spawn(children.write_on_and_on, ring)
    for expected in range(1000):
        with take(reader) as held:
            assert held.frame.frame_id == expected
    line.send(b"stop")
