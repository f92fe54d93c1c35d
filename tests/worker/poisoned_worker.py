"""A real worker process around a tracker that fails on white frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection

from streamseg.frame import Frame
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ring.frame_ring import FrameRing
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import ObjectResult
from streamseg.worker.process import Worker, WorkerSpec

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


def main(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    link = ChildLink(connection)
    link.attach()
    worker = Worker(spec, rings, Poisoned(), link)
    try:
        worker.run()
    finally:
        worker.close()
