"""Memory and descriptors of a running daemon over a long time, while objects come and go.

    python bench/soak.py --minutes 60
    python bench/soak.py --minutes 9 --model sam2.1_hiera_t --image-size 512 --compile on --rate 30

Two cameras; every few seconds an object is added, corrected and removed, and the third camera is closed and opened. The
first fifth of the time counts as warm-up; then the growth of each process is the slope of a line through its samples.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from hardware import machine
from pipeline import running_daemon

from streamseg.client import Controller, Subscriber

OBJECT = 9
DOOR = "door"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--rate", type=int, default=5, help="frames a second of each camera")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between changes")
    parser.add_argument("--start-timeout", type=float, default=60.0, help="seconds until the first masks; compiling")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = f"scene:default?size=640x360&fps={args.rate}&cache=20&format=yuv420p"
    model = {"name": args.model, "compile": args.compile}
    if args.image_size:
        model["image_size"] = args.image_size
    stream = {"source": source, "prompts": [{"object": 1, "box": [100, 90, 300, 270]}]}
    with tempfile.TemporaryDirectory() as folder:
        control = f"ipc://{folder}/control"
        config = {"model": model, "streams": {"a": stream, "b": stream}, "control": {"endpoint": control}}
        with (
            running_daemon(config, Path(folder)) as (endpoint, pid),
            Subscriber(endpoint, kinds=("masks",)) as masks,
            Controller(control) as controller,
        ):
            masks.receive(timeout_s=args.start_timeout)
            samples, frames = watch(masks, controller, psutil.Process(pid), args, source)
            status = controller.get_status().daemon
    print(table(samples))
    print(f"{frames} masks; {status}")
    print(json.dumps(machine()))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "frames": frames, "samples": samples}))


def watch(
    masks: Subscriber, controller: Controller, daemon: psutil.Process, args: argparse.Namespace, source: str
) -> tuple[dict[str, list[tuple[float, float, int]]], int]:
    """Make changes and take samples (seconds, resident MiB, descriptors) of each process."""
    samples: dict[str, list[tuple[float, float, int]]] = {}
    began = time.monotonic()
    frames = changes = 0
    next_change = began
    while (now := time.monotonic()) < began + 60 * args.minutes:
        masks.receive(timeout_s=60)
        frames += 1
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
                for process in (daemon, *daemon.children()):
                    sample = (now - began, process.memory_info().rss / 2**20, process.num_fds())
                    samples.setdefault(f"{process.name()} {process.pid}", []).append(sample)
        changes += 1
    return samples, frames


def table(samples: dict[str, list[tuple[float, float, int]]]) -> str:
    """A row for each process that was there all the time."""
    lines = ["| process | MiB after a fifth | MiB at the end | MiB an hour | descriptors after a fifth, at the end |"]
    lines.append("|---|---|---|---|---|")
    most = max(len(values) for values in samples.values())
    for name, values in samples.items():
        later = np.array(values[len(values) // 5 :])
        if len(values) < most or len(later) < 2:
            continue
        slope = np.polyfit(later[:, 0], later[:, 1], 1)[0] * 3600
        ends = f"{later[0, 2]:.0f}, {later[-1, 2]:.0f}"
        lines.append(f"| {name} | {later[0, 1]:.1f} | {later[-1, 1]:.1f} | {slope:+.1f} | {ends} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
