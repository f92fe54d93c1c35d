"""What the ring tests run in other processes, and frames whose content identifies them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

import numpy as np

from streamseg.frame import Frame, FrameFormat, FrameStamps, PixelFormat, SourceFrame
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader

SMALL = FrameFormat(640, 360, "yuv420p")
LARGE = FrameFormat(1280, 720, "yuv420p")


def stamps(pts: int | None = 0) -> FrameStamps:
    return FrameStamps(1_700_000_000_000_000_000, "arrival", time.monotonic_ns(), time.monotonic_ns(), pts, (1, 90000))


def source_frame(number: int, frame_format: FrameFormat = SMALL) -> SourceFrame:
    """A frame filled with a value that follows from its number, which also travels as its pts."""
    planes = tuple(np.full(shape, number % 251 + 1, np.uint8) for shape in frame_format.plane_shapes)
    return SourceFrame(frame_format, planes, stamps(number))


def is_whole(frame: Frame) -> bool:
    """Whether every byte belongs to the frame of its pts."""
    value = (frame.stamps.pts or 0) % 251 + 1
    return all(plane.min() == value and plane.max() == value for plane in frame.planes)


def mixed_format(number: int) -> FrameFormat:
    """Another size and layout for each number."""
    layouts: tuple[PixelFormat, ...] = ("yuv420p", "rgb24", "gray8", "nv12", "bgr24")
    return FrameFormat(64 + 37 * (number % 11), 48 + 23 * (number % 7), layouts[number % 5])


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"condition did not come true within {timeout_s} s"
        time.sleep(0.0005)


def take(reader: RingReader, timeout_s: float = 60.0) -> HeldFrame:
    deadline = time.monotonic() + timeout_s
    while (held := reader.take()) is None:
        assert reader.wait(deadline - time.monotonic()), f"no frame within {timeout_s} s"
    return held


def write_on_and_on(ring: FrameRing, line: Connection, frame_format: FrameFormat | None = SMALL) -> None:
    """Write at full speed until something comes over ``line``, then answer how many frames this process wrote.

    Without a format, each frame has another one.
    """
    writer = ring.writer()
    frames = [source_frame(number, frame_format or mixed_format(number)) for number in range(35)]
    written = 0
    while not line.poll(0):
        for frame in frames:
            writer.write(frame, 60.0)
            written += 1
    line.send(written)


def write_after_predecessor(ring: FrameRing, line: Connection) -> None:
    """Start up at once; write when the previous writer is dead."""
    line.recv()
    write_on_and_on(ring, line, None)


def write_when_told(ring: FrameRing, line: Connection) -> None:
    """Write one frame for each message; end at the first empty one."""
    writer = ring.writer()
    line.send(b"ready")
    while number := line.recv():
        writer.write(source_frame(number), 60.0)


def read_on_and_on(ring: FrameRing, line: Connection) -> None:
    """On command, take, share with the publisher, check and release; report the number of a torn frame."""
    line.recv()
    reader = ring.reader("worker")
    line.send("ready")
    while True:
        with take(reader) as held:
            held.share_with("publisher")
            if not is_whole(held.frame):
                line.send(held.frame.frame_id)


def hold_lock(ring: FrameRing, line: Connection) -> None:
    """Stop in the middle of the critical section, until killed."""
    with ring._memory.locked():
        line.send(b"locked")
        os.kill(os.getpid(), signal.SIGSTOP)


def counts(ring: FrameRing, line: Connection) -> None:
    line.send(ring.counters())
    line.recv()
    ring.close()


def descriptors_for_exec(ring: FrameRing, line: Connection) -> None:
    """Report which of this process's ring descriptors its children would inherit."""
    fds = (ring._memory._fd, ring._memory.frame_ready.fd, ring._memory.slot_free.fd)
    line.send([fd for fd in fds if os.get_inheritable(fd)])


class KilledAt:
    """Kills its own process (SIGKILL) at the ``step``-th line that runs in streamseg's ring."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: FrameType, event: str, _: Any) -> KilledAt | None:
        if "/streamseg/ring/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
        return self


def dies_at(step: int, action: Callable[[], object]) -> bool:
    """Run ``action`` in a fork that is killed at its ``step``-th line; return whether it got that far."""
    pid = os.fork()
    if pid == 0:
        try:
            sys.settrace(KilledAt(step))
            action()
            sys.settrace(None)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, f"the action failed before line {step}"
    return False
