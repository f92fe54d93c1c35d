"""The leak run: hours of churn in minutes, while memory and descriptors of every process are measured.

Two cameras as fast as the worker can follow. Rounds of changes follow each other without a pause: objects are added,
corrected, named, undone and removed; a third camera comes and goes; subscribers of all kinds and viewers of the page
come, read a little and go, some without reading at all; requests are refused. After each round, when all of that is
gone again, every process is sampled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import psutil
import websockets
from numpy.typing import NDArray
from soak_daemon import SoakDaemon

from streamseg.client import ControlError, Controller, Subscriber

STEADY: Final = ("a", "b")
DOOR: Final = "door"
MAX_MB_PER_100K: Final = 1.0
"""A process that grows faster leaks."""
_WARM_UP: Final = 0.5
"""Share of the samples that is not judged: caches and the allocators' arenas fill, ever more slowly."""
REMEMBERED: Final = 1100
"""Requests before the first sample: the daemon remembers its last thousand replies, which would look like a leak. They
are those of a round, since some replies are longer than others."""
_KINDS: Final[tuple[Literal["masks", "objects", "image", "status", "events"], ...]] = (
    "masks",
    "objects",
    "image",
    "status",
    "events",
)


@dataclass
class LeakRecord:
    """All samples so far.

    Attributes:
        samples: Name and id of a process -> (seconds, frames tracked so far, MB as by :func:`own_mb`, descriptors).
        device_memory: (Seconds, MB of GPU memory held by the worker).
        restarts: Process -> restarts.
        engine: What ran the model when the first sample was taken; empty without a network.
    """

    samples: dict[str, list[tuple[float, int, float, int]]] = field(default_factory=dict)
    device_memory: list[tuple[float, float]] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    engine: str = ""

    def sample(self, seconds: float, daemon: psutil.Process, controller: Controller) -> None:
        """Sample every process."""
        status = controller.get_status()
        frames = sum(stream.tracked + stream.repeated for stream in status.streams if stream.stream in STEADY)
        for process in (daemon, *daemon.children(recursive=True)):
            try:
                found = (seconds, frames, own_mb(process.pid), process.num_fds())
                name = f"{process.name()} {process.pid}"
            except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
                continue  # it ended after it was listed: the capture process of the camera just closed
            self.samples.setdefault(name, []).append(found)
        assert status.daemon is not None
        self.device_memory.append((seconds, status.daemon.device_memory_bytes / 1e6))
        self.restarts.update(status.daemon.restarts)

    def judged(self) -> dict[str, NDArray[np.float64]]:
        """Return the samples after the warm-up of each process that lived through most of the run."""
        longest = max(map(len, self.samples.values()), default=0)
        return {
            name: np.array(values[int(_WARM_UP * len(values)) :])
            for name, values in self.samples.items()
            if len(values) > longest / 2 and len(values) >= 10
        }

    def faults(self) -> list[str]:
        """Return what is wrong: growth, descriptors, processes that had to be restarted."""
        found = []
        for name, rows in self.judged().items():
            if (growth := mb_per_100k(rows)) >= MAX_MB_PER_100K:
                found.append(f"{name} grows by {growth:.2f} MB per 100,000 frames")
            if (first := least(rows[:, 3], last=False)) < (now := least(rows[:, 3], last=True)):
                found.append(f"{name} holds {now} descriptors, after {first}")
        restarts = {name: n for name, n in self.restarts.items() if n and name != f"capture:{DOOR}"}
        return [*found, *(f"{name} was restarted {n} times" for name, n in restarts.items())]

    def table(self) -> str:
        """Return a Markdown table of all processes, then device memory and restarts."""
        lines = [
            "| process | samples | frames | MB after warm-up | MB at the end | MB per 100,000 frames | "
            "descriptors after, at the end |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, rows in self.judged().items():
            frames = int(rows[-1, 1] - rows[0, 1])
            ends = f"{least(rows[:, 3], last=False)}, {least(rows[:, 3], last=True)}"
            cells = (
                name,
                len(rows),
                frames,
                f"{rows[0, 2]:.1f}",
                f"{rows[-1, 2]:.1f}",
                f"{mb_per_100k(rows):+.2f}",
                ends,
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
        held = np.array(self.device_memory)
        if held.size and held[:, 1].any():
            lines += ["", f"Device memory: {held[len(held) // 5, 1]:.1f} MB, at the end {held[-1, 1]:.1f}."]
        restarts = ", ".join(f"{name} {count}" for name, count in self.restarts.items()) or "unknown"
        engine = f" Engine: {self.engine}." if self.engine else ""
        lines += ["", f"Rounds of changes: {self.rounds}. Restarts: {restarts}.{engine}"]
        return "\n".join(lines)


def own_mb(pid: int) -> float:
    """Return a process's resident memory without pages of files, which the kernel drops and reads again as it likes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    if not kib:
        raise FileNotFoundError(f"process {pid} has ended")
    return sum(kib) * 1024 / 1e6


def mb_per_100k(rows: NDArray[np.float64]) -> float:
    """Return the median slope of all pairs of samples (Theil-Sen), which single outliers do not move."""
    first, second = np.triu_indices(len(rows), k=max(1, len(rows) // 4))
    frames = rows[second, 1] - rows[first, 1]
    grown = rows[second, 2] - rows[first, 2]
    return float(np.median(grown[frames > 0] / frames[frames > 0]) * 100_000) if (frames > 0).any() else 0.0


def least(counts: NDArray[np.float64], *, last: bool) -> int:
    """Return the smallest count of the first or last fifth: connections that come and go only raise it."""
    part = max(1, len(counts) // 5)
    return int((counts[-part:] if last else counts[:part]).min())


def look_for_leaks(daemon: SoakDaemon, record: LeakRecord, minutes: float, source: str, json_file: Path | None) -> None:
    """Make changes and sample, for a time."""
    with Controller(daemon.control, timeout_s=60) as controller:
        asked = 0
        while asked < REMEMBERED:
            asked += _objects(controller)
        began = time.monotonic()
        while time.monotonic() < began + 60 * minutes:
            _round(daemon, controller, source)
            record.rounds += 1
            record.sample(time.monotonic() - began, daemon.process, controller)
            if json_file is not None:
                json_file.write_text(json.dumps(record.samples))


def _round(daemon: SoakDaemon, controller: Controller, source: str) -> None:
    """Make every kind of change once, and undo it."""
    _objects(controller)
    controller.add_stream(
        DOOR, {"source": source, "prompts": [{"object": 1, "points": [[0.5, 0.5]], "coords": "normalized"}]}
    )
    _subscribers(daemon.masks)
    asyncio.run(_viewers(daemon))
    controller.remove_stream(DOOR)
    _refused(daemon, controller)


def _objects(controller: Controller) -> int:
    """Add, correct, name and remove objects; return the number of requests."""
    asked = 0
    for stream in STEADY:
        for x, y in ((0.3, 0.3), (0.5, 0.5)):
            asked += 1
            with contextlib.suppress(ControlError):  # nothing that can be followed is there now
                added = controller.add_prompt(stream, points=[(x, y)])
                asked += 4
                controller.add_prompt(stream, points=[(x + 0.02, y)], object_id=added.object_id)
                controller.label_object(stream, added.object_id, f"object {x}")
                controller.undo(stream)
                controller.remove_object(stream, added.object_id)
    return asked


def _subscribers(endpoint: str) -> None:
    for kind in _KINDS:
        with Subscriber(endpoint, kinds=(kind,), timeout_s=30) as reader:
            if kind != "events":
                reader.receive()
    with Subscriber(endpoint, kinds=("masks", "image"), max_rate_hz=5) as limited, Subscriber(endpoint, mode="all"):
        limited.receive(timeout_s=30)  # while the other one reads nothing


async def _viewers(daemon: SoakDaemon) -> None:
    address = daemon.page.replace("http", "ws") + "v1/live"
    async with websockets.connect(address) as viewer, websockets.connect(address) as idle:
        await viewer.send(json.dumps({"type": "watch", "stream": STEADY[0], "grid": list(STEADY)}))
        for _ in range(3):
            await asyncio.wait_for(viewer.recv(), 30)
        await idle.close()
    for path in ("metrics", "v1/streams", "v1/streams/a/snapshot.jpg?overlay=true"):
        with contextlib.suppress(urllib.error.HTTPError):  # 503: a busy machine had no picture in time
            await asyncio.to_thread(daemon.get, path, 30)


def _refused(daemon: SoakDaemon, controller: Controller) -> None:
    bad: list[tuple[str, dict[str, Any]]] = [("a", {"points": [(9, 9)]}), ("nowhere", {"points": [(0.5, 0.5)]})]
    for stream, prompt in bad:
        with contextlib.suppress(ControlError):
            controller.add_prompt(stream, **prompt)
    with contextlib.suppress(urllib.error.HTTPError):
        daemon.get("v1/streams/nowhere/snapshot.jpg")
