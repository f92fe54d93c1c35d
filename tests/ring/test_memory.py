from __future__ import annotations

import gc
import mmap
import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamseg.errors import RingError
from streamseg.ring import layout, memory
from streamseg.ring.frame_ring import FrameRing
from tests.ring import ring_children as children
from tests.ring.ring_children import source_frame, take

MakeRing = Callable[..., FrameRing]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def descriptors_of_rings() -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum("streamseg-ring" in str(link.readlink()) for link in links)


def memory_in_use(ring: FrameRing) -> int:
    return os.fstat(ring._memory._fd).st_blocks * 512


def test_the_file_can_neither_shrink_nor_grow(make_ring: MakeRing) -> None:
    fd = make_ring()._memory._fd
    size = os.fstat(fd).st_size
    for other in (0, size - 1, size + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, other)


def test_unused_capacity_costs_nothing(make_ring: MakeRing) -> None:
    ring = make_ring(slots=16, slot_bytes=64 * 2**20)
    reader, writer = ring.reader("worker"), ring.writer()
    assert memory_in_use(ring) <= mmap.ALLOCATIONGRANULARITY
    frame = source_frame(0)
    for _ in range(50):
        writer.write(frame)
        take(reader).release()
    assert memory_in_use(ring) < 3 * frame.format.nbytes, "one slot is used again and again"


def test_descriptors_do_not_leak() -> None:
    before = open_descriptors()
    for _ in range(20):
        ring = FrameRing(policy="newest", slots=2, slot_bytes=4096)
        reader, writer = ring.reader("worker"), ring.writer()
        writer.write(source_frame(0, layout.FrameFormat(16, 16, "gray8")))
        take(reader).release()
        ring.close()
    gc.collect()
    assert open_descriptors() == before


def test_close_leaves_views_that_are_still_looked_at(make_ring: MakeRing) -> None:
    before = open_descriptors()
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(6))
    held = take(reader)
    plane = held.frame.planes[1][10:, 5:]  # a view of a view
    ring.close()
    ring.close()
    del held
    gc.collect()
    assert plane.min() == plane.max() == 7
    assert open_descriptors() == before + 1, "the mapping that the view needs"
    del plane
    gc.collect()
    assert open_descriptors() == before


def test_a_closed_ring_is_an_error(make_ring: MakeRing) -> None:
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    ring.close()
    for use in (ring.counters, ring.writer, reader.take, writer.begin_epoch, lambda: writer.write(source_frame(0))):
        with pytest.raises(RingError, match="closed"):
            use()


def test_pickling_is_for_spawning_only(make_ring: MakeRing) -> None:
    with pytest.raises(RingError, match="only be pickled while a child process is spawned"):
        pickle.dumps(make_ring())


def test_children_can_be_started_at_any_time(make_ring: MakeRing, spawn: Callable) -> None:
    ring = make_ring()
    writer = ring.writer()
    writer.write(source_frame(0))
    before = descriptors_of_rings()
    for number in range(2, 5):
        writer.write(source_frame(number))
        process, line = spawn(children.counts, ring)
        assert line.poll(60)
        assert line.recv().frames == number
        line.send(b"end")
        process.join(60)
        assert process.exitcode == 0
    assert descriptors_of_rings() == before


def test_a_child_does_not_pass_the_ring_on(make_ring: MakeRing, spawn: Callable) -> None:
    _, line = spawn(children.descriptors_for_exec, make_ring())
    assert line.poll(60)
    assert line.recv() == []


def test_nothing_lies_in_dev_shm(make_ring: MakeRing) -> None:
    fd = make_ring()._memory._fd
    assert "memfd:streamseg-ring" in str(Path(f"/proc/self/fd/{fd}").readlink())
    assert os.fstat(fd).st_nlink == 0


def test_threads_of_a_process_exclude_each_other(make_ring: MakeRing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A POSIX lock alone would let both in."""
    ring = make_ring()
    writer = ring.writer()
    errors: list[RingError] = []

    def begin_epoch() -> None:
        try:
            writer.begin_epoch()
        except RingError as error:
            errors.append(error)

    monkeypatch.setattr(memory, "LOCK_TIMEOUT_S", 0.05)
    with ring._memory.locked():
        thread = threading.Thread(target=begin_epoch)
        thread.start()
        thread.join(60)
    assert "a thread of this process held" in str(errors[0])
    assert ring.counters().epoch == 0
    assert writer.begin_epoch() == 1


def test_a_change_is_written_to_the_inactive_block(make_ring: MakeRing) -> None:
    """A process that dies in the middle of a commit must leave the old state whole."""
    ring = make_ring()
    header = ring._memory._header
    for number in range(1, 5):
        before = header[:]
        active = before[layout.SELECTOR_AT]
        with ring._memory.locked() as control:
            control.no_slot = number
            ring._memory.commit(control)
        assert header[layout.SELECTOR_AT] == 1 - active
        counted = slice(layout.CONTROL_AT[active], layout.CONTROL_AT[active] + 512)
        assert header[counted] == before[counted]
        assert ring.counters().no_slot == number


def test_a_stopped_lock_holder_is_an_error_in_time(
    make_ring: MakeRing, spawn: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = make_ring()
    writer = ring.writer()
    process, line = spawn(children.hold_lock, ring)
    assert line.poll(60)
    monkeypatch.setattr(memory, "LOCK_TIMEOUT_S", 0.05)
    with pytest.raises(RingError, match="another process held the frame ring's lock"):
        writer.write(source_frame(0))
    assert ring.counters().frames == 0, "counters need no lock"
    monkeypatch.undo()
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert writer.write(source_frame(0)) == 0, "the kernel dropped the lock"


def test_counters_are_of_one_instant_while_the_ring_is_busy(make_ring: MakeRing, spawn: Callable) -> None:
    ring = make_ring("newest")
    _, line = spawn(children.write_on_and_on, ring)
    children.wait_until(lambda: ring.counters().frames > 0)
    seen = set()
    while len(seen) < 3000:
        counters = ring.counters()
        # Without a reader, all frames but the waiting one are superseded, at every instant.
        assert counters.frames == counters.superseded + counters.pending
        seen.add(counters.frames)
    line.send(b"stop")


def test_a_corrupt_control_block_is_detected(make_ring: MakeRing) -> None:
    ring = make_ring()
    header = ring._memory._header
    at = layout.CONTROL_AT[header[layout.SELECTOR_AT]]
    header[at] ^= 1
    for use in (ring.counters, ring.writer):
        with pytest.raises(RingError, match="corrupt"):
            use()
