"""One kind of churn at a time, in four parts: which kind makes which process grow.

    python bench/churn.py
    python bench/churn.py --kinds streams subscribers --count 50

Growth in the first part but not in the last fills a cache or an arena. The same growth in each part is a leak.
`soak.py leaks` does everything at once, for an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
import websockets
from hardware import write_results
from soak_daemon import SoakDaemon, soak_daemon
from soak_leaks import REMEMBERED, own_mb

from streamseg.client import ControlError, Controller, Subscriber

PARTS: Final = 4
_SETTLE_S: Final = 6.0
"""After each part: what was removed last still ends."""
_WAIT_S: Final = 60.0
_STREAM: Final[dict[str, Any]] = {
    "source": "scene:simple?size=160x90&fps=3",
    "prompts": [{"object": 1, "points": [[0.5, 0.5]], "coords": "normalized"}],
}


class Churn:
    """All kinds. Each method makes one change and takes it back; ``number`` counts the calls.

    Args:
        daemon: The daemon, with the stream ``a``.
        controller: Connected to it.
    """

    def __init__(self, daemon: SoakDaemon, controller: Controller) -> None:
        self._daemon = daemon
        self._controller = controller

    def labels(self, number: int) -> None:
        self._controller.label_object("a", 1, f"object {number}")

    def objects(self, number: int) -> None:
        with contextlib.suppress(ControlError):  # nothing that can be followed is there now
            added = self._controller.add_prompt("a", points=[(0.3, 0.3)])
            self._controller.remove_object("a", added.object_id)

    def refused_requests(self, number: int) -> None:
        with contextlib.suppress(ControlError):
            self._controller.add_prompt(f"nowhere{number}", points=[(0.5, 0.5)])
        with contextlib.suppress(ControlError):
            self._controller.add_stream(f"x{number}", {"source": f"/nowhere/{number}.mp4"})

    def controllers(self, number: int) -> None:
        with Controller(self._daemon.control, timeout_s=_WAIT_S) as other:
            other.hello()

    def reloads(self, number: int) -> None:
        self._controller.reload()

    def streams(self, number: int) -> None:
        self._controller.add_stream("door", _STREAM)
        self._controller.remove_stream("door")

    def streams_of_new_names(self, number: int) -> None:
        self._controller.add_stream(f"door{number}", _STREAM)
        self._controller.remove_stream(f"door{number}")

    def subscribers(self, number: int) -> None:
        with Subscriber(self._daemon.masks, kinds=("masks",), timeout_s=_WAIT_S) as reader:
            reader.receive()

    def subscribers_of_nothing(self, number: int) -> None:
        with Subscriber(self._daemon.masks, streams=[f"nowhere{number}"], kinds=("masks",)):
            pass

    def http_requests(self, number: int) -> None:
        for path in ("metrics", "v1/streams", f"v1/streams/nowhere{number}/snapshot.jpg"):
            with contextlib.suppress(urllib.error.HTTPError):
                self._daemon.get(path, _WAIT_S)

    def pictures(self, number: int) -> None:
        with contextlib.suppress(urllib.error.HTTPError):  # 503: a busy machine had no picture in time
            self._daemon.get("v1/streams/a/snapshot.jpg?overlay=true", _WAIT_S)

    def viewers(self, number: int) -> None:
        asyncio.run(self._view())

    async def _view(self) -> None:
        async with websockets.connect(self._daemon.page.replace("http", "ws") + "v1/live") as viewer:
            await viewer.send(json.dumps({"type": "watch", "stream": "a", "grid": ["a"]}))
            for _ in range(2):
                await asyncio.wait_for(viewer.recv(), _WAIT_S)


KINDS: Final[dict[str, Callable[[Churn, int], None]]] = {
    name: function for name, function in vars(Churn).items() if not name.startswith("_")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--count", type=int, default=200, help="changes in each of the four parts")
    parser.add_argument("--start-timeout", type=float, default=120.0, help="seconds until the daemon is ready")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    settings = {"model": {"name": "color"}, "streams": {"a": _STREAM}}
    grown: dict[str, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="churn-") as folder,
        soak_daemon(settings, Path(folder), args.start_timeout) as daemon,
        Controller(daemon.control, timeout_s=_WAIT_S) as controller,
    ):
        churn = Churn(daemon, controller)
        for number in range(REMEMBERED):
            churn.labels(number)
        for kind in args.kinds:
            grown[kind] = measure(daemon, lambda number, kind=kind: KINDS[kind](churn, number), args.count)
            print(kind, grown[kind], flush=True)
    write_results(table(grown, args.count), grown, args)


def measure(daemon: SoakDaemon, change: Callable[[int], None], count: int) -> dict[str, list[float]]:
    """Return MB by which each process grew in each part."""
    samples = [held_mb(daemon)]
    for part in range(PARTS):
        for number in range(count):
            change(part * count + number)
        time.sleep(_SETTLE_S)
        samples.append(held_mb(daemon))
    lasting = [name for name in samples[0] if all(name in sample for sample in samples)]
    return {name: [round(samples[n + 1][name] - samples[n][name], 2) for n in range(PARTS)] for name in lasting}


def held_mb(daemon: SoakDaemon) -> dict[str, float]:
    """Return each process's memory without pages of files."""
    found = {}
    for process in (daemon.process, *daemon.process.children()):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            found["supervisor" if process.pid == daemon.process.pid else process.name()] = own_mb(process.pid)
    return found


def table(grown: dict[str, dict[str, list[float]]], count: int) -> str:
    """Return a Markdown table: MB in each part."""
    names = [name for name in next(iter(grown.values())) if not name.startswith("python")]
    lines = [f"| {PARTS} x {count} | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for kind, processes in grown.items():
        cells = (", ".join(f"{part:.2f}" for part in processes.get(name, [])) for name in names)
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
