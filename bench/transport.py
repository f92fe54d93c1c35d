"""The cost of moving frames from a capture process to the worker: the frame ring, a queue, a socket.

A producer process hands over yuv420p frames at 30 frames/s. A consumer process gets each as planes and reads their
corners; nothing is decoded or tracked. All arms run in turns in one run, so that a busy machine slows them alike.

    python bench/transport.py                        # 720p and 1080p, all arms, 3 rounds of 5 s
    python bench/transport.py --arms ring queue --sizes 1080p --rounds 1 --seconds 10

Latency is from just before the hand-over until the planes can be read. CPU time is of the whole process (all
threads).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import platform
import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np
import zmq
from hardware import processor

from streamseg.frame import FrameFormat, FrameStamps, Plane, SourceFrame
from streamseg.ring.frame_ring import FrameRing

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
FRAMES_PER_S = 30
WARM_UP_FRAMES = 30
SILENCE_S = 10.0

context = multiprocessing.get_context("spawn")

Received = tuple[FrameStamps, tuple[Plane, ...]]


class Arm(Protocol):
    """One way to move frames. Created by the parent, pickled into both processes."""

    def sender(self) -> Callable[[SourceFrame], object]:
        """Producer: return the function that hands a frame over."""
        ...

    def receive(self) -> Iterator[Received]:
        """Consumer: yield frames, each valid until the next, until none comes for ``SILENCE_S``."""
        ...

    def close(self) -> None:
        """Parent: free the arm's resources."""
        ...


class RingArm:
    """The frame ring: one copy, into shared memory."""

    def __init__(self, folder: Path) -> None:
        self._ring = FrameRing(policy="newest")

    def sender(self) -> Callable[[SourceFrame], object]:
        return self._ring.writer().write

    def receive(self) -> Iterator[Received]:
        reader = self._ring.reader("worker")
        while reader.wait(SILENCE_S):
            if held := reader.take():
                with held:
                    yield held.frame.stamps, held.frame.planes

    def close(self) -> None:
        self._ring.close()


class QueueArm:
    """``multiprocessing.Queue``: pickled, through a pipe."""

    def __init__(self, folder: Path) -> None:
        self._queue = context.Queue(4)

    def sender(self) -> Callable[[SourceFrame], object]:
        return lambda frame: self._queue.put((frame.stamps, frame.planes), timeout=SILENCE_S)

    def receive(self) -> Iterator[Received]:
        while True:
            try:
                yield self._queue.get(timeout=SILENCE_S)
            except queue.Empty:
                return

    def close(self) -> None:
        self._queue.close()
        self._queue.join_thread()


class SocketArm:
    """ZeroMQ over ipc, a message part for each plane."""

    def __init__(self, folder: Path) -> None:
        self._endpoint = f"ipc://{folder}/{time.monotonic_ns()}"

    def sender(self) -> Callable[[SourceFrame], object]:
        socket = zmq.Context.instance().socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, 4)
        socket.setsockopt(zmq.SNDTIMEO, int(SILENCE_S * 1000))
        socket.connect(self._endpoint)
        return lambda frame: socket.send_multipart([pickle.dumps((frame.stamps, frame.format)), *frame.planes])

    def receive(self) -> Iterator[Received]:
        with zmq.Context() as zmq_context, zmq_context.socket(zmq.PULL) as socket:
            socket.setsockopt(zmq.RCVHWM, 4)
            socket.bind(self._endpoint)
            while socket.poll(int(SILENCE_S * 1000)):
                header, *parts = socket.recv_multipart()
                stamps, frame_format = pickle.loads(header)
                yield (
                    stamps,
                    tuple(
                        np.frombuffer(part, np.uint8).reshape(shape)
                        for part, shape in zip(parts, frame_format.plane_shapes, strict=True)
                    ),
                )

    def close(self) -> None:
        """Do nothing: both sockets ended with their processes."""


ARMS: dict[str, type[RingArm] | type[QueueArm] | type[SocketArm]] = {
    "ring": RingArm,
    "queue": QueueArm,
    "zmq-ipc": SocketArm,
}


@dataclass
class Row:
    """One arm at one size, all rounds together."""

    arm: str
    size: str
    sent: int
    received: int
    median_ms: float
    p99_ms: float
    cpu_producer_ms: float
    cpu_consumer_ms: float


@dataclass
class Round:
    """One round of one arm."""

    sent: int
    latencies_ms: list[float]
    cpu_producer_ms: float
    cpu_consumer_ms: float


def produce(arm: Arm, size: tuple[int, int], count: int, line: Connection) -> None:
    """Hand over ``count`` frames at their pace, the last with a pts of ``count - 1``; then send the CPU time."""
    frame_format = FrameFormat(*size, "yuv420p")
    rng = np.random.default_rng(0)
    pictures = [
        tuple(rng.integers(0, 256, shape, np.uint8) for shape in frame_format.plane_shapes)
        for _ in range(8)  # more than a cache holds, like a decoder's output
    ]
    send = arm.sender()
    line.send("ready")
    line.recv()
    begin, cpu = time.monotonic(), 0
    for number in range(count):
        time.sleep(max(0.0, begin + number / FRAMES_PER_S - time.monotonic()))
        if number == WARM_UP_FRAMES:
            cpu = time.process_time_ns()
        now = time.monotonic_ns()
        stamps = FrameStamps(time.time_ns(), "arrival", now, now, number, (1, FRAMES_PER_S))
        send(SourceFrame(frame_format, pictures[number % len(pictures)], stamps))
    line.recv()  # the consumer has them all, so the threads of queue and socket are done as well
    line.send((time.process_time_ns() - cpu) / 1e6)


def consume(arm: Arm, size: tuple[int, int], count: int, line: Connection) -> None:
    """Receive until the last frame; then send the latencies and the CPU time."""
    latencies_ms: list[float] = []
    cpu = time.process_time_ns()
    line.send("ready")
    for stamps, planes in arm.receive():
        assert stamps.pts is not None
        if stamps.pts < WARM_UP_FRAMES:
            cpu = time.process_time_ns()
            continue
        latencies_ms.append((time.monotonic_ns() - stamps.t_decoded_ns) / 1e6)
        _ = [int(plane[0, 0]) + int(plane[-1, -1]) for plane in planes]
        if stamps.pts == count - 1:
            break
    line.send((latencies_ms, (time.process_time_ns() - cpu) / 1e6))


def run_round(name: str, size: tuple[int, int], seconds: float, folder: Path) -> Round:
    """Run one arm once, in two new processes."""
    count = WARM_UP_FRAMES + int(seconds * FRAMES_PER_S)
    arm = ARMS[name](folder)
    lines, processes = [], []
    try:
        for target in (consume, produce):
            ours, theirs = context.Pipe()
            process = context.Process(target=target, args=(arm, size, count, theirs), daemon=True)
            process.start()
            theirs.close()
            lines.append(ours)
            processes.append(process)
        for line in lines:
            answer(line, 60)
        lines[1].send("go")
        latencies_ms, cpu_consumer_ms = answer(lines[0], seconds + 60)
        lines[1].send("done")
        cpu_producer_ms = answer(lines[1], 60)
    finally:
        for process in processes:
            process.join(5)
            process.kill()
        arm.close()
    return Round(count - WARM_UP_FRAMES, latencies_ms, cpu_producer_ms, cpu_consumer_ms)


def answer(line: Connection, timeout_s: float):
    if not line.poll(timeout_s):
        raise TimeoutError(f"a process of the benchmark said nothing for {timeout_s} s")
    return line.recv()


def row(name: str, size: str, rounds: list[Round]) -> Row:
    latencies = [latency for one in rounds for latency in one.latencies_ms]
    sent = sum(one.sent for one in rounds)
    return Row(
        arm=name,
        size=size,
        sent=sent,
        received=len(latencies),
        median_ms=round(statistics.median(latencies), 3),
        p99_ms=round(float(np.percentile(latencies, 99)), 3),
        cpu_producer_ms=round(sum(one.cpu_producer_ms for one in rounds) / sent, 3),
        cpu_consumer_ms=round(sum(one.cpu_consumer_ms for one in rounds) / len(latencies), 3),
    )


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| size | transport | frames | latency median, p99 ms | CPU ms per frame: producer, consumer |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.size} | {r.arm} | {r.received} of {r.sent} | {r.median_ms:.2f}, {r.p99_ms:.2f} | "
        f"{r.cpu_producer_ms:.2f}, {r.cpu_consumer_ms:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Describe the machine."""
    return {
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each round, after 1 s of warm-up")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    rounds: dict[tuple[str, str], list[Round]] = {(size, arm): [] for size in args.sizes for arm in args.arms}
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for (size, arm), done in rounds.items():
                done.append(run_round(arm, SIZES[size], args.seconds, Path(folder)))
    about["load_1min_after"] = round(os.getloadavg()[0], 2)
    rows = [row(arm, size, done) for (size, arm), done in rounds.items()]
    result = json.dumps({"machine": about, "rows": [asdict(one) for one in rows]}, indent=1)
    print(table(rows))
    print(f"\n{result}")
    if args.json:
        args.json.write_text(result + "\n")


if __name__ == "__main__":
    main()
