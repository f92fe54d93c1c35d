"""A pickled ``multiprocessing.Queue`` with the interface of the frame ring: the other arm of ``pipeline.py``.

It has the part of the interface that the daemon uses and the same newest-wins policy, so everything else is the same
code.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from streamseg.frame import Frame, SourceFrame

_SPAWN = multiprocessing.get_context("spawn")


class QueueRing:
    """A queue of pickled frames; stands in for ``FrameRing``."""

    def __init__(self, *, policy: str, slots: int = 6, slot_bytes: int = 0, after: object = None) -> None:
        del slots, slot_bytes, after
        self._policy = policy
        self.shape = SimpleNamespace(policy=policy)
        self._queue: Any = _SPAWN.Queue(maxsize=2)
        self._counts = _SPAWN.Array("q", 4)  # frames, superseded, epoch, taken

    def writer(self) -> QueueRing:
        return self

    def reader(self, role: str) -> QueueRing:
        del role
        return self

    def use_policy(self, policy: str) -> None:
        self._policy = policy

    def begin_epoch(self) -> int:
        self._counts[2] += 1
        return int(self._counts[2])

    def write(self, frame: SourceFrame, timeout_s: float = 0.0) -> int:
        frame_id = int(self._counts[0])
        self._counts[0] += 1
        planes = tuple(np.ascontiguousarray(plane) for plane in frame.planes)
        item = Frame(frame_id, int(self._counts[2]), frame.format, planes, frame.stamps)
        while True:
            try:
                self._queue.put(item, timeout=timeout_s or None if self._policy == "every" else 0.001)
                return frame_id
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
                    self._counts[1] += 1

    def fileno(self) -> int:
        return int(self._queue._reader.fileno())

    def take(self) -> QueuedFrame | None:
        try:
            frame = self._queue.get_nowait()
        except queue.Empty:
            return None
        self._counts[3] += 1
        return QueuedFrame(frame)

    def wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self._queue.empty() and time.monotonic() < deadline:
            time.sleep(0.001)
        return not self._queue.empty()

    def accept(self, max_held: int) -> None:
        del max_held

    def adopt(self, slot: int, frame_id: int) -> None:
        del slot, frame_id

    def counters(self) -> SimpleNamespace:
        frames, superseded, epoch, taken = self._counts[:]
        return SimpleNamespace(
            frames=frames,
            superseded=superseded,
            no_slot=0,
            abandoned=0,
            dropped=superseded,
            epoch=epoch,
            pending=frames - superseded - taken,
            held=0,
        )

    def close(self) -> None:
        self._queue.cancel_join_thread()
        self._queue.close()


class QueuedFrame:
    """A frame that came through the queue."""

    slot = -1

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __enter__(self) -> QueuedFrame:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def share_with(self, role: str) -> bool:
        del role
        return False

    def withdraw(self, role: str) -> None:
        del role

    def release(self) -> None:
        pass
