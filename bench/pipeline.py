"""The cost of everything but the model, from a decoded frame to a subscriber that has its mask.

Runs the real daemon (capture processes, ring, worker, publisher) with the model ``echo``, which returns its prompt's
mask at once, and a subscriber in a process of its own. Two arms run in turns in one run: the frame ring, and a
pickled ``multiprocessing.Queue`` instead of it.

Sources: ``camera`` is the generated scene as a live source (yuv420p, 20 pictures rendered once; newest wins, drops
are counted; there is nothing to decode). ``h264`` is the same scene as an H.264 file played at its own rate: it is
decoded, and drops nothing because files wait.

    python bench/pipeline.py                               # the grid of RESULTS.md
    python bench/pipeline.py --streams 4 --sizes 720p --seconds 20
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hardware import processor, write_results

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FULL_FRAME_COPIES = {"ring": 1, "queue": 4}
"""Of each frame between decoder and worker. Ring: into the slot. Queue: contiguous copy, pickle, pipe in, pipe out."""


@dataclass
class Row:
    """One arm at one size and number of streams."""

    source: str
    transport: str
    streams: int
    size: str
    seconds: float
    frames_per_s: float
    captured: int
    dropped: int
    p50_ms: float
    p99_ms: float
    cpu_capture_ms: float
    cpu_worker_ms: float
    cpu_publisher_ms: float
    copies: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["720p", "1080p"])
    parser.add_argument("--sources", nargs="+", choices=("camera", "h264"), default=["camera", "h264"])
    parser.add_argument("--transports", nargs="+", choices=FULL_FRAME_COPIES, default=["ring", "queue"])
    parser.add_argument("--seconds", type=float, default=15.0, help="measured time of each arm, after 3 s of warm-up")
    parser.add_argument("--rounds", type=int, default=1, help="repeats; the table shows the median round by p99")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--transport", choices=FULL_FRAME_COPIES, default="ring", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.transport)
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        grid = itertools.product(args.sources, args.sizes, args.streams, args.transports)
        for source, size, streams, transport in grid:
            address = camera(SIZES[size]) if source == "camera" else str(write_clip(Path(folder), size))
            rounds = [
                measure(source, address, transport, streams, size, args.seconds, Path(folder))
                for _ in range(args.rounds)
            ]
            rows.append(sorted(rounds, key=lambda row: row.p99_ms)[len(rounds) // 2])
            print(table(rows[-1:], header=len(rows) == 1), flush=True)
    write_results(table(rows), {"rows": [asdict(row) for row in rows]}, args, machine())


def camera(size: tuple[int, int]) -> str:
    """Return the address of the scene as a camera that costs almost nothing."""
    return f"scene:default?size={size[0]}x{size[1]}&cache=20&format=yuv420p"


def write_clip(folder: Path, size: str) -> Path:
    """Encode three seconds of the scene as H.264, as a camera would (no B-frames, 30 frames/s)."""
    import av

    from streamseg.sources.scene.source import Scene

    path = folder / f"{size}.mp4"
    if path.exists():
        return path
    width, height = SIZES[size]
    scene = Scene(f"scene:default?size={width}x{height}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30, options={"preset": "veryfast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(90):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.render(index), format="rgb24")))
        container.mux(stream.encode())
    return path


def serve(config_file: Path, transport: str) -> None:
    """Run the daemon, with the queue instead of the ring if requested."""
    from streamseg.config.load import load_config
    from streamseg.daemon import stream_set, supervisor

    if transport == "queue":
        from queue_ring import QueueRing

        stream_set.FrameRing = QueueRing  # type: ignore[misc, assignment]
    sys.exit(supervisor.Daemon(load_config(config_file)).run())


@contextmanager
def running_daemon(config: dict[str, Any], folder: Path, transport: str = "ring") -> Iterator[tuple[str, int]]:
    """Run the daemon; yields its publish endpoint and its process id."""
    endpoint = f"ipc://{folder}/bench-{os.getpid()}-{time.monotonic_ns()}"
    config_file = folder / "config.yaml"
    own = {"publish": {"endpoints": [endpoint]}, "log": {"level": "warning"}}
    config_file.write_text(json.dumps(config | own))  # JSON is YAML
    command = [sys.executable, __file__, "--serve", str(config_file), "--transport", transport]
    daemon = subprocess.Popen(command, stderr=sys.stderr)
    try:
        yield endpoint, daemon.pid
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


def measure(source: str, address: str, transport: str, streams: int, size: str, seconds: float, folder: Path) -> Row:
    """Run one arm and return its row."""
    from streamseg.client import Subscriber

    width, height = SIZES[size]
    box = [width // 4, height // 4, width // 2, height // 2]
    config = {
        "model": {"name": "echo", "device": "cpu"},
        "streams": {
            f"cam{index}": {
                "source": address,
                "loop": source == "h264",
                "prompts": [{"object": 1, "box": box}],
            }
            for index in range(streams)
        },
    }
    latencies_ms: list[float] = []
    with (
        running_daemon(config, folder, transport) as (endpoint, pid),
        Subscriber(endpoint, kinds=("masks",), mode="all") as subscriber,
    ):
        subscriber.receive(timeout_s=60)
        warm_until = time.monotonic() + 3
        while time.monotonic() < warm_until:
            subscriber.receive(timeout_s=10)
        before, started = cpu_seconds(pid), time.monotonic()
        frame_at: dict[str, list[int]] = {}
        count = 0
        while time.monotonic() - started < seconds:
            message = subscriber.receive(timeout_s=10)
            latencies_ms.append((time.monotonic_ns() - message.t_decoded_ns) / 1e6)
            frame_at.setdefault(message.stream, [message.frame, message.frame])[1] = message.frame
            count += 1
        elapsed, after = time.monotonic() - started, cpu_seconds(pid)
    captured = sum(last - begin + 1 for begin, last in frame_at.values())
    per_frame = {name: 1000 * (after[name] - before[name]) / captured for name in before}
    return Row(
        source=source,
        transport=transport,
        streams=streams,
        size=size,
        seconds=round(elapsed, 1),
        frames_per_s=round(count / elapsed, 1),
        captured=captured,
        dropped=captured - count,
        p50_ms=round(statistics.median(latencies_ms), 2),
        p99_ms=round(float(np.percentile(latencies_ms, 99)), 2),
        cpu_capture_ms=round(per_frame["capture"], 2),
        cpu_worker_ms=round(per_frame["worker"], 2),
        cpu_publisher_ms=round(per_frame["publisher"], 2),
        copies=FULL_FRAME_COPIES[transport],
    )


def cpu_seconds(pid: int) -> dict[str, float]:
    """Return the CPU time of the daemon's processes by kind."""
    seconds = {"capture": 0.0, "worker": 0.0, "publisher": 0.0}
    for child in psutil.Process(pid).children(recursive=True):
        kind = child.name().split(":")[0]
        if kind in seconds:
            times = child.cpu_times()
            seconds[kind] += times.user + times.system
    return seconds


def machine() -> dict[str, Any]:
    """Describe the machine."""
    import av
    import zmq

    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "av": av.__version__,
        "libzmq": zmq.zmq_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def table(rows: list[Row], *, header: bool = True) -> str:
    """Rows as Markdown."""
    lines = []
    if header:
        lines += [
            "| source | transport | streams | size | frames/s | dropped / captured | p50 ms | p99 ms "
            "| CPU ms/frame capture + worker + publisher | copies of the frame |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
    for row in rows:
        cpu = f"{row.cpu_capture_ms} + {row.cpu_worker_ms} + {row.cpu_publisher_ms}"
        cells = (
            *(row.source, row.transport, row.streams, row.size, row.frames_per_s),
            *(f"{row.dropped} / {row.captured}", row.p50_ms, row.p99_ms, cpu, row.copies),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
