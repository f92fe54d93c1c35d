"""Memory and file descriptors of a running daemon over a long time, while objects come and go.

    python bench/soak.py --minutes 60
    python bench/soak.py --minutes 9 --model sam2.1_hiera_t --image-size 512 --compile on --start-timeout 600 --rate 30

Two cameras. Every few seconds an object is added, corrected or removed, or a third camera is opened or closed. The
first fifth of the samples counts as warm-up; the growth of each process is the slope of a line through the rest. A
sam2 config gets random weights. The exit status is 1 if a process had to be restarted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
from hardware import machine, write_results
from pipeline import running_daemon
from random_model import model_settings

from streamseg.client import Controller, Subscriber

OBJECT = 9
DOOR = "door"


@dataclass
class Record:
    """All samples so far."""

    frames: int = 0
    samples: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    """Name and id of a process -> (seconds, resident MiB, descriptors)."""
    device_memory: list[tuple[float, float]] = field(default_factory=list)
    """(Seconds, MiB of GPU memory held by the worker)."""
    restarts: dict[str, int] = field(default_factory=dict)

    def sample(self, seconds: float, daemon: psutil.Process, controller: Controller) -> None:
        """Sample every process."""
        for process in (daemon, *daemon.children()):
            try:
                found = (seconds, process.memory_info().rss / 2**20, process.num_fds())
                name = f"{process.name()} {process.pid}"
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended after it was listed: the capture process of the camera just closed
            self.samples.setdefault(name, []).append(found)
        status = controller.get_status().daemon
        self.device_memory.append((seconds, status.device_memory_bytes / 2**20))
        self.restarts.update(status.restarts)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps({"machine": machine()} | asdict(self)))


def main() -> None:
    args = arguments()
    # With a time limit from outside, the table is still written and the daemon stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    record = Record()
    try:
        soak(record, args)
    finally:
        text = table(record)
        print(text)
        write_results(text, asdict(record), args)
    if any(count for name, count in record.restarts.items() if name != f"capture:{DOOR}"):
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--rate", type=int, default=5, help="frames per second of each camera")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between changes")
    parser.add_argument(
        "--start-timeout", type=float, default=60.0, help="seconds until the first masks, compilation included"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path, help="rewritten at every sample")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    return parser.parse_args()


def soak(record: Record, args: argparse.Namespace) -> None:
    """Run the daemon."""
    source = f"scene:default?size=640x360&fps={args.rate}&cache=20&format=yuv420p"
    stream = {"source": source, "prompts": [{"object": 1, "box": [100, 90, 300, 270]}]}
    with tempfile.TemporaryDirectory() as folder:
        control = f"ipc://{folder}/control"
        model = model_settings(
            args.model, Path(folder), image_size=args.image_size, compile=args.compile, threads=args.threads
        )
        config = {"model": model, "streams": {"a": stream, "b": stream}, "control": {"endpoint": control}}
        with (
            running_daemon(config, Path(folder)) as (endpoint, pid),
            Subscriber(endpoint, kinds=("masks",)) as masks,
            Controller(control) as controller,
        ):
            masks.receive(timeout_s=args.start_timeout)
            watch(record, masks, controller, psutil.Process(pid), args, source)
            record.restarts.update(controller.get_status().daemon.restarts)


def watch(
    record: Record,
    masks: Subscriber,
    controller: Controller,
    daemon: psutil.Process,
    args: argparse.Namespace,
    source: str,
) -> None:
    """Make changes, and sample after the third camera is closed."""
    began = time.monotonic()
    changes = 0
    next_change = began
    while (now := time.monotonic()) < began + 60 * args.minutes:
        masks.receive(timeout_s=60)
        record.frames += 1
        if now < next_change:
            continue
        next_change = now + args.every
        match changes % 5:
            case 0:
                controller.add_prompt("a", points=[(0.5, 0.5)], object_id=OBJECT)
            case 1:
                controller.add_prompt("a", points=[(0.52, 0.53)], object_id=OBJECT)
            case 2:
                controller.remove_object("a", OBJECT)
            case 3:
                controller.add_stream(DOOR, {"source": source})
            case 4:
                controller.remove_stream(DOOR)
                record.sample(now - began, daemon, controller)
                if args.json:
                    record.write(args.json)
        changes += 1


def table(record: Record) -> str:
    """Return a Markdown table of all processes with two samples or more, then device memory and restarts."""
    lines = [
        "| process | samples | MiB after warm-up | MiB at the end | MiB per hour | descriptors after, at the end |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in record.samples.items():
        later = np.array(values[len(values) // 5 :])
        if len(later) < 2:
            continue
        ends = f"{later[0, 2]:.0f}, {later[-1, 2]:.0f}"
        cells = (name, len(values), f"{later[0, 1]:.1f}", f"{later[-1, 1]:.1f}", f"{slope(later):+.1f}", ends)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines.append("")
    held = np.array(record.device_memory[len(record.device_memory) // 5 :])
    if len(held) > 1:
        lines.append(f"Device memory: {held[0, 1]:.1f} MiB, at the end {held[-1, 1]:.1f}, {slope(held):+.1f} per hour.")
    restarts = ", ".join(f"{name} {count}" for name, count in record.restarts.items()) or "unknown"
    lines.append(f"Restarts: {restarts}. Masks: {record.frames}.")
    return "\n".join(lines)


def slope(values: np.ndarray) -> float:
    """Return the growth in MiB per hour of rows that begin with seconds and MiB."""
    return float(np.polyfit(values[:, 0], values[:, 1], 1)[0] * 3600)


if __name__ == "__main__":
    main()
