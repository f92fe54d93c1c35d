"""Real worker processes around trackers that fail: on white frames, or on the memory of an object."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection

from streamseg.frame import Frame
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ring.frame_ring import FrameRing
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import ObjectResult, StreamMemory
from streamseg.worker.process import Worker
from streamseg.worker.spec import WorkerSpec

POISON = 255
NOT_A_NUMBER = 200


class Poisoned(EchoTracker):
    """Fails on frames of level 255, ``failures`` times; returns NaN on frames of level 200."""

    error: Exception = ValueError("a poisoned frame")
    failures = 1_000_000

    @property
    def streams_at_once(self) -> int:
        return 8

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        if any(one.planes[0][0, 0] == POISON for one in frames.values()):
            self.failures -= 1
            if self.failures >= 0:
                raise self.error
        results = super().track(frames)
        for stream, frame in frames.items():
            if frame.planes[0][0, 0] == NOT_A_NUMBER and results[stream]:
                results[stream][0] = replace(results[stream][0], iou_prediction=math.nan)
        return results


class Crashing(EchoTracker):
    """Ends the process on the first frame of the stream ``bad`` after it was given the memory of an object of it."""

    crashes = False

    @property
    def streams_at_once(self) -> int:
        return 8

    def import_memory(self, stream: str, memory: StreamMemory) -> dict[int, str]:
        self.crashes |= stream == "bad" and bool(memory.objects)
        return super().import_memory(stream, memory)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        if self.crashes and "bad" in frames:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().track(frames)


def main(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    run(Poisoned(), spec, rings, connection)


def crashing(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    run(Crashing(), spec, rings, connection)


def run(tracker: EchoTracker, spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    link = ChildLink(connection)
    link.attach()
    worker = Worker(spec, rings, tracker, link)
    try:
        worker.run()
    finally:
        worker.close()
