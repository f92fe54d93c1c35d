"""Memory of a daemon with one camera of 1080p, process by process.

    python bench/memory.py
    python bench/memory.py --cached        # the model has been converted or compiled before

The camera is a scene of 1080p at 30 frames/s with one object; the page is on. ``peak`` is the most resident memory that
a process ever had, shared pages included. ``own`` is its share of what is resident at the end (proportional set size),
so own memories add up. What runs in between, such as the conversion of the model, has a row of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from hardware import write_results
from prepared import is_final
from soak_daemon import SoakDaemon, soak_daemon

SOURCE = "scene:default?size=1920x1080&fps=30&cache=2&format=yuv420p"
PROMPTS = [{"object": 1, "box": [480, 270, 960, 810]}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--cached", action="store_true", help="with this user's cache instead of an empty one")
    parser.add_argument("--seconds", type=float, default=20.0, help="after the engine is prepared")
    parser.add_argument("--limit", type=float, default=900.0, help="most seconds until it is prepared")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    settings = {
        "model": {"name": args.model},
        "streams": {"cam": {"source": SOURCE, "prompts": PROMPTS}},
    }
    with tempfile.TemporaryDirectory(prefix="mem") as name:
        folder = Path(name)
        if not args.cached:
            os.environ["XDG_CACHE_HOME"] = name
        with soak_daemon(settings, folder, args.limit) as daemon:
            peaks = watch(daemon, args.seconds, args.limit)
            rows = [{"process": name, **found} for name, found in peaks.items()]
    text = table(rows)
    print(text)
    write_results(text, {"rows": rows}, args)


def watch(daemon: SoakDaemon, seconds: float, limit_s: float) -> dict[str, dict[str, float]]:
    """Return what each process has used, from now until some seconds after the engine was prepared."""
    found: dict[str, dict[str, float]] = {}
    end = None
    limit = time.monotonic() + limit_s
    while time.monotonic() < (limit if end is None else end):
        for process in (daemon.process, *daemon.process.children(recursive=True)):
            try:
                found[named(process)] = memory(process.pid)
            except (psutil.Error, OSError, KeyError):
                continue
        if end is None and is_final(engine(daemon)):
            end = time.monotonic() + seconds
        time.sleep(0.5)
    return found


def engine(daemon: SoakDaemon) -> str:
    """Return what runs the model now; a state that is not final before the worker's first report."""
    status: dict[str, Any] | None = json.loads(daemon.get("v1/streams"))["daemon"]
    reported = status is not None and status["device"]
    return str(status["engine"]) if reported else "eager (loading)"


def named(process: psutil.Process) -> str:
    """Return a name for the table."""
    if any("tracker.background" in word for word in process.cmdline()):
        return "preparation of the engine"
    return Path(f"/proc/{process.pid}/comm").read_text().strip()


def memory(pid: int) -> dict[str, float]:
    """Return peak and proportional memory in MB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rollup = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {
        "peak_mb": int(fields["VmHWM"].split()[0]) / 1000,
        "own_mb": int(rollup["Pss"].split()[0]) / 1000,
        "threads": int(fields["Threads"]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = ["| process | peak, MB | own, MB | threads |", "|---|---|---|---|"]
    lines += [f"| {row['process']} | {row['peak_mb']:.0f} | {row['own_mb']:.0f} | {row['threads']} |" for row in rows]
    lines.append(f"| together | | {sum(row['own_mb'] for row in rows):.0f} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
