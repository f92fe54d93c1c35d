"""What test_process.py runs in other processes, and the publisher in its own process."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from streamseg.client import Subscriber
from streamseg.config.schema import PublishConfig
from streamseg.frame import FrameFormat, FrameStamps, SourceFrame
from streamseg.ipc.messages import TrackedFrame, TrackedObject
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_messages import Report
from streamseg.publish.process import main
from streamseg.publish.spec import PublisherSpec
from streamseg.ring.frame_ring import FrameRing

SPAWN = multiprocessing.get_context("spawn")
WIDTH, HEIGHT = 64, 48


def until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> object:
    """Poll until ``condition`` is true; return its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")


class PublisherProcess:
    """A publisher with its rings, with the test in the role of supervisor, worker and capture."""

    def __init__(
        self, folder: Path, streams: tuple[str, ...] = ("cam1",), keys: Path | None = None, **publish: object
    ) -> None:
        self.endpoint = f"ipc://{folder}/pub"
        settings = {"endpoints": (self.endpoint,), **publish}
        self.rings = {stream: FrameRing(policy="newest", slots=6, slot_bytes=1 << 16) for stream in streams}
        self.writers = {stream: ring.writer() for stream, ring in self.rings.items()}
        self.readers = {stream: ring.reader("worker") for stream, ring in self.rings.items()}
        self.spec = PublisherSpec(
            session="9f1c2e4a",
            publish=PublishConfig(**settings),
            internal_endpoint=f"ipc://{folder}/internal",
            commands_endpoint=f"ipc://{folder}/commands",
            streams={stream: f"rtsp://user:***@{stream}" for stream in streams},
            model="nano",
            version="0.0.1",
            **({} if keys is None else {"keys": keys}),
        )
        self.publisher_socket = PublisherSocket(self.spec.internal_endpoint)
        self.start()

    def start(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=main, args=(self.spec, self.rings, theirs))
        self.process.start()
        theirs.close()
        self.ready = self.report("ready")

    def report(self, kind: str, timeout_s: float = 30.0) -> Report:
        """Return the next report of a kind, and drop those before it."""
        deadline = time.monotonic() + timeout_s
        while self.connection.poll(deadline - time.monotonic()):
            report = self.connection.recv()
            if report.kind == kind:
                return report
        raise AssertionError(f"no report {kind!r} within {timeout_s} s")

    def send(self, message) -> None:
        assert self.publisher_socket.try_send(message, 10.0)

    def track(self, stream: str = "cam1", *, luma: int = 128, **fields: object) -> TrackedFrame:
        """Play capture and worker for one frame."""
        frame_id = self.writers[stream].write(source_frame(luma))
        with self.readers[stream].take() as held:
            assert held.frame.frame_id == frame_id
            shared = held.share_with("publisher")
            message = tracked_frame(stream, frame_id, slot=held.slot if shared else -1, **fields)
            self.send(message)
        return message

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(b"stop")
        self.process.join(timeout=10)
        assert self.process.exitcode is not None, "the publisher did not stop"
        return self.process.exitcode

    def close(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join(timeout=10)
        self.process.close()
        self.connection.close()
        self.publisher_socket.close()
        for ring in self.rings.values():
            ring.close()


def source_frame(luma: int) -> SourceFrame:
    now = time.monotonic_ns()
    stamps = FrameStamps(time.time_ns(), "arrival", now, now, None, (1, 90_000))
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    planes = (np.full((HEIGHT, WIDTH), luma, np.uint8), chroma, chroma)
    return SourceFrame(FrameFormat(WIDTH, HEIGHT, "yuv420p", "bt709"), planes, stamps)


def mask_of(frame_id: int) -> np.ndarray:
    """A mask that identifies its frame by the number of its columns, wrapped."""
    mask = np.zeros((20, 30), bool)
    mask[:, : 1 + frame_id % 30] = True
    return mask


def tracked_frame(stream: str, frame_id: int, *, slot: int = -1, mask=None, bits: bytes | None = None, size=None):
    mask = mask_of(frame_id) if mask is None else mask
    now = time.monotonic_ns()
    rows, columns = mask.shape
    return TrackedFrame(
        stream=stream,
        frame_id=frame_id,
        epoch=0,
        size=size or (WIDTH, HEIGHT),
        t_wall_ns=time.time_ns(),
        t_source="arrival",
        t_captured_ns=now,
        t_decoded_ns=now,
        t_tracked_ns=now,
        pts=None,
        time_base=(1, 90_000),
        dropped=0,
        slot=slot,
        objects=[
            TrackedObject(
                obj_id=1,
                label="bar",
                state="tracked",
                iou_prediction=0.9,
                object_score_logits=4.0,
                roi=(5, 7, columns, rows),
                area=int(mask.sum()),
                centroid=(0.0, 0.0),
                bits=np.packbits(mask, axis=1).tobytes() if bits is None else bits,
            )
        ],
    )


def collect(endpoint: str, kinds: tuple[str, ...], connection: Connection) -> None:
    """Subscribe to everything in order and send the results, until the pipe closes."""
    subscriber = Subscriber(endpoint, streams=["cam1"], kinds=kinds, mode="all", timeout_s=60)
    with subscriber, contextlib.suppress(OSError):
        for message in subscriber:
            areas = [int(obj.mask.sum()) for obj in getattr(message, "objects", ())]
            connection.send((message.frame, message.seq, message.gap, message.age_ms, areas))


def ignore(endpoint: str, connection: Connection) -> None:
    """Subscribe, report it, and never read again."""
    with Subscriber(endpoint, streams=["cam1"], mode="all", timeout_s=60) as subscriber:
        subscriber.receive()
        connection.send("subscribed")
        time.sleep(600)


@contextlib.contextmanager
def child(
    target: Callable[..., None], *args: object
) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    """Run a function in another process; the last argument it gets is a pipe to us."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(*args, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join(timeout=10)
        process.close()
        ours.close()
