"""Age of masks when they arrive at a subscriber, at fixed camera rates, and the share of frames that were dropped.

Runs the real daemon with a real model on the generated scene, played like a camera (newest wins), and a subscriber in
another process. The age is counted from the capture stamp to the parsed message. A sam2 config gets random weights.
Counting begins when the model has been converted or compiled, which takes minutes at the first start; the table says
what ran it.

    python bench/latency.py                                  # nano, one and four objects, 5 to 30 frames/s
    python bench/latency.py --model sam2.1_hiera_t --compile on --rates 15 30 --streams 8
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hardware import write_results
from pipeline import SIZES, running_daemon
from prepared import LIMIT_S, daemon_engine
from random_model import model_settings

from streamseg.client import Subscriber

WARM_UP_S = 3.0


@dataclass
class Row:
    """One arrival rate."""

    model: str
    streams: int
    objects: int
    rate: int
    engine: str
    masks_per_s: float
    captured: int
    dropped_share: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--size", choices=SIZES, default="1080p")
    parser.add_argument("--rates", type=int, nargs="+", default=[5, 10, 15, 20, 25, 30])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--streams", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of each rate")
    parser.add_argument(
        "--start-timeout", type=float, default=60.0, help="seconds until the first masks, compilation included"
    )
    parser.add_argument("--prepare-timeout", type=float, default=LIMIT_S, help="most seconds until it is prepared")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        model = model_settings(
            args.model,
            Path(folder),
            image_size=args.image_size,
            compile=args.compile,
            dtype=args.dtype,
            max_objects=max(args.objects),
            threads=args.threads,
        )
        for streams, objects, rate in itertools.product(args.streams, args.objects, args.rates):
            rows.append(measure(model, streams, objects, rate, args, Path(folder)))
            print(table(rows[-1:], header=len(rows) == 1), flush=True)
    write_results(table(rows), {"rows": [asdict(row) for row in rows]}, args)


def measure(
    model: dict[str, Any], streams: int, objects: int, rate: int, args: argparse.Namespace, folder: Path
) -> Row:
    """Run the daemon at one arrival rate."""
    width, height = SIZES[args.size]
    column = width // (objects + 1)
    prompts = [
        {"object": index + 1, "box": [column * (index + 0.5), height // 4, column * (index + 1.5), 3 * height // 4]}
        for index in range(objects)
    ]
    source = f"scene:default?size={width}x{height}&fps={rate}&cache=20&format=yuv420p"
    config = {
        "model": model,
        "streams": {f"cam{index}": {"source": source, "prompts": prompts} for index in range(streams)},
    }
    ages_ms: list[float] = []
    frames: dict[str, list[int]] = {}
    with running_daemon(config, folder) as (endpoint, _):
        with Subscriber(endpoint, kinds=("masks",)) as first:
            first.receive(timeout_s=args.start_timeout)
        engine = daemon_engine(endpoint, args.prepare_timeout)
        with Subscriber(endpoint, kinds=("masks",), mode="all") as masks:
            warm_until = time.monotonic() + WARM_UP_S
            while time.monotonic() < warm_until:
                masks.receive(timeout_s=30)
            began = time.monotonic()
            while (elapsed := time.monotonic() - began) < args.seconds:
                message = masks.receive(timeout_s=30)
                ages_ms.append((time.monotonic_ns() - message.t_captured_ns) / 1e6)
                frames.setdefault(message.stream, [message.frame, message.frame])[1] = message.frame
    captured = sum(last - first + 1 for first, last in frames.values())
    return Row(
        model=args.model,
        streams=streams,
        objects=objects,
        rate=rate,
        engine=engine,
        masks_per_s=round(len(ages_ms) / elapsed, 1),
        captured=captured,
        dropped_share=round(1 - len(ages_ms) / captured, 3),
        p50_ms=round(statistics.median(ages_ms), 1),
        p95_ms=round(float(np.percentile(ages_ms, 95)), 1),
        p99_ms=round(float(np.percentile(ages_ms, 99)), 1),
    )


def table(rows: list[Row], *, header: bool = True) -> str:
    """Rows as Markdown."""
    lines = []
    if header:
        lines += [
            "| model | engine | streams | objects | arrival/s | masks/s | dropped | p50 ms | p95 ms | p99 ms |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
    for row in rows:
        cells = (
            *(row.model, row.engine, row.streams, row.objects, row.rate, row.masks_per_s, f"{row.dropped_share:.1%}"),
            *(row.p50_ms, row.p95_ms, row.p99_ms),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
