"""Stands in for the supervisor, the worker and the publisher around one real capture process."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from streamseg.capture.process import main
from streamseg.capture.spec import CaptureSpec
from streamseg.config.schema import LogConfig, StreamConfig
from streamseg.ipc.messages import CaptureReport, StreamEvent, decode
from streamseg.ipc.supervisor_messages import Report
from streamseg.ring.frame_ring import FrameRing, Policy

SPAWN = multiprocessing.get_context("spawn")
TIMEOUT_S = 60


@dataclass(frozen=True)
class Taken:
    """Properties of a frame read from the ring."""

    frame_id: int
    epoch: int
    size: tuple[int, int]
    pts: int | None


class CaptureHarness:
    """A capture process with a real ring, pipe and socket.

    Attributes:
        events, reports, said: What it said so far.
        frames: What it wrote so far, as far as it was read.
    """

    def __init__(self, policy: Policy = "newest", slots: int = 4) -> None:
        self.ring = FrameRing(policy=policy, slots=slots, slot_bytes=1 << 20)
        self._reader = self.ring.reader("worker")
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.events: list[StreamEvent] = []
        self.reports: list[CaptureReport] = []
        self.said: list[Report] = []
        self.frames: list[Taken] = []

    def start(self, **config: object) -> None:
        ours, theirs = SPAWN.Pipe()
        spec = CaptureSpec("cam", StreamConfig(**config), self._endpoint, LogConfig(level="debug"))  # type: ignore[arg-type]
        self.process = SPAWN.Process(target=main, args=(spec, self.ring, theirs))
        self.process.start()
        theirs.close()
        self.connection = ours

    def publisher_dies(self) -> None:
        """Stop receiving reports."""
        self._socket.close(0)

    def wait_for(self, condition: Callable[[], object], *, take: int = 1_000_000) -> None:
        """Read what comes, at most ``take`` frames, until the condition holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"in vain: {self.events=} {self.said=} {self.reports[-1:]=}"
            assert self.process.is_alive() or self.connection.poll(), f"it ended: {self.process.exitcode}"
            if take > 0 and self._reader.wait(0.02):
                take -= self._take()
            elif take <= 0:
                self._socket.poll(20)
            self._receive()

    def drain(self) -> None:
        """Read every frame that lies in the ring."""
        while self._take():
            pass

    def _take(self) -> int:
        held = self._reader.take()
        if held is None:
            return 0
        with held:
            frame = held.frame
            size = (frame.format.width, frame.format.height)
            self.frames.append(Taken(frame.frame_id, frame.epoch, size, frame.stamps.pts))
        return 1

    def _receive(self) -> None:
        while self._socket.poll(0):
            message = decode(self._socket.recv())
            (self.reports if isinstance(message, CaptureReport) else self.events).append(message)  # type: ignore[union-attr, arg-type]
        while self.connection.poll():
            try:
                self.said.append(self.connection.recv())
            except EOFError:
                return

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def has_said(self, kind: str) -> bool:
        return any(report.kind == kind for report in self.said)

    def state(self) -> str:
        return self.reports[-1].state if self.reports else ""

    def stop(self) -> float:
        """Stop it like the supervisor does; return how long the process took to end."""
        started = time.monotonic()
        self.connection.send_bytes(b"stop")
        self.process.join(TIMEOUT_S)
        assert self.process.exitcode == 0, f"exit code {self.process.exitcode}"
        return time.monotonic() - started

    def close(self) -> None:
        if self.process.is_alive():
            self.process.kill()
            self.process.join(TIMEOUT_S)
        self.process.close()
        self.connection.close()
        self._socket.close(0)
        self._context.term()
        self.ring.close()
