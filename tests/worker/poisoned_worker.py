"""A real worker process around a tracker that fails on white frames."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection

from streamseg.frame import Frame
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ring.frame_ring import FrameRing
from streamseg.tracker.simple.echo import EchoTracker
from streamseg.tracker.types import ObjectResult
from streamseg.worker.process import Worker, WorkerSpec

POISON = 255


class Poisoned(EchoTracker):
    """Fails on frames of level 255."""

    error: Exception = ValueError("a poisoned frame")

    @property
    def streams_at_once(self) -> int:
        return 8

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        if any(one.planes[0][0, 0] == POISON for one in frames.values()):
            raise self.error
        return super().track(frames)


def main(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    link = ChildLink(connection)
    link.attach()
    worker = Worker(spec, rings, Poisoned(), link)
    try:
        worker.run()
    finally:
        worker.close()
