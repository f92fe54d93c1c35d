"""Time from the start of the daemon to the first mask of a configured prompt.

    python bench/start.py --compile off on --starts 5
    python bench/start.py --model sam2.1_hiera_t --image-size 512 --compile on

Compiled code is cached in ``TORCHINDUCTOR_CACHE_DIR``, or else in this user's cache. One extra start, which may have
to compile, precedes those that count. A sam2 config gets random weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hardware import write_results
from pipeline import running_daemon
from random_model import model_settings

from streamseg.client import Subscriber

SOURCE = "scene:default?size=1280x720&fps=30&cache=20&format=yuv420p"


@dataclass
class Row:
    """Starts with one setting; seconds."""

    model: str
    compile: str
    before: float
    median: float
    least: float
    greatest: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--compile", choices=("auto", "on", "off"), nargs="+", default=["auto"])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--start-timeout", type=float, default=1200.0, help="seconds until the first mask")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for setting in args.compile:
            model = model_settings(args.model, Path(folder), image_size=args.image_size, compile=setting)
            before, *counted = (first_mask_s(model, Path(folder), args.start_timeout) for _ in range(1 + args.starts))
            rows.append(
                Row(
                    args.model,
                    setting,
                    round(before, 1),
                    round(statistics.median(counted), 1),
                    round(min(counted), 1),
                    round(max(counted), 1),
                )
            )
            print(table(rows[-1:], header=len(rows) == 1), flush=True)
    write_results(table(rows), {"rows": [asdict(row) for row in rows]}, args)


def first_mask_s(model: dict[str, Any], folder: Path, timeout_s: float) -> float:
    """Start a daemon, wait for a mask that is not empty, and stop it."""
    prompts = [{"object": 1, "box": [320, 180, 640, 540]}]
    config = {"model": model, "streams": {"cam": {"source": SOURCE, "prompts": prompts}}}
    began = time.monotonic()
    with running_daemon(config, folder) as (endpoint, _), Subscriber(endpoint, kinds=("masks",), mode="all") as masks:
        while not any(item.area for item in masks.receive(timeout_s=timeout_s).objects):
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(f"no mask within {timeout_s} s")
        return time.monotonic() - began


def table(rows: list[Row], *, header: bool = True) -> str:
    """Rows as Markdown."""
    lines = []
    if header:
        lines += [
            "| model | compile | first start, s | median s | min s | max s |",
            "|---|---|---|---|---|---|",
        ]
    lines += [
        f"| {row.model} | {row.compile} | {row.before} | {row.median} | {row.least} | {row.greatest} |" for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
