"""Processes of a ring are killed: at every line of their code, and at random instants at full speed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from streamseg.frame import FrameFormat
from streamseg.ring.frame_ring import FrameRing, Policy
from streamseg.ring.layout import FREE
from tests.ring import ring_children as children
from tests.ring.ring_children import dies_at, is_whole, source_frame, take, wait_until

MakeRing = Callable[..., FrameRing]
TINY = FrameFormat(16, 16, "yuv420p")


def drain(ring: FrameRing, policy: Policy, expected_next: int) -> None:
    """Afterwards, new processes work, frame numbers continue, and no slot is lost."""
    writer, worker, publisher = ring.writer(), ring.reader("worker"), ring.reader("publisher")
    publisher.accept(1)
    while held := worker.take():
        with held:
            assert is_whole(held.frame)
    counters = ring.counters()
    assert (counters.pending, counters.held) == (0, 0)
    assert counters.frames == expected_next
    slots = len(ring._memory.snapshot().slots)
    for number in range(slots):
        assert writer.write(source_frame(number, TINY)) == expected_next + number
    assert worker.wait(0)
    assert ring.counters().pending == (1 if policy == "newest" else slots)
    while held := worker.take():
        with held:
            assert is_whole(held.frame)
    assert not worker.wait(0)
    assert [entry.state for entry in ring._memory.snapshot().slots] == [FREE] * slots


def kill_writer_at_each_line(line: Connection, policy: Policy, waiting: int, holding: int) -> None:
    """Send the number of lines at which a write was killed. Runs in a process of one thread, which may fork."""
    step, killed = 0, True
    while killed:
        ring = FrameRing(policy=policy, slots=4, slot_bytes=4096)
        writer, reader = ring.writer(), ring.reader("worker")
        held = []
        for number in range(holding):
            writer.write(source_frame(number, TINY))
            held.append(take(reader))
        for number in range(waiting):
            writer.write(source_frame(number, TINY))
        epoch, before = writer.begin_epoch(), ring.counters()
        killed = dies_at(step, lambda writer=writer: writer.write(source_frame(100, TINY)))
        after = ring.counters()
        done = after.frames - before.frames
        assert done in (0, 1), "a frame is written, or it is not"
        assert killed or done
        assert after.epoch == epoch
        assert after.frames == holding + after.pending + after.dropped, "every frame is accounted for, at any instant"
        assert not after.pending or reader.wait(0), "a frame without a wake-up"
        assert all(is_whole(frame.frame) for frame in held)
        drain(ring, policy, after.frames)
        ring.close()
        step += 1
    line.send(step)


def kill_reader_at_each_line(line: Connection) -> None:
    """The same for a worker that takes, shares and releases, and for the publisher."""
    step, killed = 0, True
    while killed:
        ring = FrameRing(policy="every", slots=4, slot_bytes=4096)
        writer, worker, publisher = ring.writer(), ring.reader("worker"), ring.reader("publisher")
        publisher.accept(2)
        for number in range(2):
            writer.write(source_frame(number, TINY))

        def use(worker=worker, publisher=publisher) -> None:
            with take(worker) as held:
                assert held.share_with("publisher")
                held.withdraw("publisher")
                assert held.share_with("publisher")
                adopted = publisher.adopt(held.slot, held.frame.frame_id)
            assert is_whole(adopted.frame)
            adopted.release()

        killed = dies_at(step, use)
        drain(ring, "every", 2)
        ring.close()
        step += 1
    line.send(step)


def steps_of(target: Callable[..., None], *args: object) -> int:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args))
    process.start()
    theirs.close()
    process.join(120)
    try:
        assert process.exitcode == 0, "see its traceback above"
        return int(ours.recv())
    finally:
        process.kill()
        process.join(30)
        process.close()
        ours.close()


@pytest.mark.parametrize(
    ("policy", "waiting", "holding"), [("newest", 1, 1), ("newest", 1, 3), ("newest", 0, 4), ("every", 0, 1)]
)
def test_a_writer_may_die_at_every_line(policy: Policy, waiting: int, holding: int) -> None:
    assert steps_of(kill_writer_at_each_line, policy, waiting, holding) > 50


def test_a_reader_may_die_at_every_line() -> None:
    assert steps_of(kill_reader_at_each_line) > 100


def kill_at_a_random_instant(process: multiprocessing.Process, dice: random.Random) -> None:
    end = time.perf_counter() + dice.uniform(0, 0.002)
    while time.perf_counter() < end:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [4, pytest.param(32, marks=pytest.mark.long)])
def test_writers_killed_at_random(make_ring: MakeRing, spawn: Callable, kills: int) -> None:
    ring = make_ring("newest", slots=3)
    reader = ring.reader("worker")
    dice = random.Random(7)
    delivered, last = 0, -1
    process, line = spawn(children.write_after_predecessor, ring)
    for _ in range(kills):
        line.send(b"go")
        successor, line = spawn(children.write_after_predecessor, ring)
        goal = delivered + dice.randint(1, 20)
        while delivered < goal:
            with take(reader) as held:
                assert is_whole(held.frame)
                assert held.frame.frame_id > last
                last = held.frame.frame_id
                delivered += 1
        kill_at_a_random_instant(process, dice)
        counters = ring.counters()
        assert counters.frames == delivered + counters.dropped + counters.pending
        assert counters.epoch == 0
        process = successor
    drain(ring, "newest", ring.counters().frames)


@pytest.mark.parametrize("kills", [3, pytest.param(16, marks=pytest.mark.long)])
def test_readers_killed_at_random(make_ring: MakeRing, spawn: Callable, kills: int) -> None:
    ring = make_ring("newest", slots=3)
    dice = random.Random(8)
    spawn(children.write_on_and_on, ring)
    publisher = ring.reader("publisher")
    successor, next_line = spawn(children.read_on_and_on, ring)
    for _ in range(kills):
        publisher.accept(1)
        process, line = successor, next_line
        line.send(b"go")
        successor, next_line = spawn(children.read_on_and_on, ring)
        assert line.poll(60)
        assert line.recv() == "ready"
        goal = ring.counters().frames + dice.randint(1, 30)
        wait_until(lambda goal=goal: ring.counters().frames > goal)
        kill_at_a_random_instant(process, dice)
        with pytest.raises(EOFError):
            line.recv()  # else: the number of a torn frame
        assert ring.counters().held <= 2
        ring.reader("worker")
        assert ring.counters().held == 0
    counters = ring.counters()
    assert counters.abandoned <= 2 * kills
    assert counters.no_slot == 0
