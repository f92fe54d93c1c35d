"""The fault run: failures by a seed, while every mask is compared with the truth and every event is counted.

Two simulated cameras (``examples/camera_simulator.py``) whose pictures carry their number, so that each mask is judged
by the truth of its own frame, whatever was dropped or restarted before. First nothing is disturbed for a while; then
one failure follows the other:

- a process of the daemon is killed, or stopped and continued;
- a camera goes away and comes back, often with pictures of another size, or changes their size while it is watched;
- a subscriber reads nothing.

Wrong is: an object whose mask lies on another one (unless it does that without failures as well), an event that is
missing or was sent and never came, an object that is gone, and a stream that does not come back.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import zmq
from prepared import daemon_engine
from soak_daemon import SoakDaemon, free_port, soak_daemon
from soak_watcher import SAME, Seen, Watcher, iou

from streamseg.client import ControlError, Controller

STREAMS: Final = ("a", "b")
SIZES: Final = ("320x180", "480x270")
SIMULATOR: Final = Path(__file__).parents[1] / "examples/camera_simulator.py"
_RECOVERY_S: Final = 60.0


class Camera:
    """A simulated camera that can go away and come back at the same address.

    Args:
        rate: Pictures per second.
    """

    def __init__(self, rate: int) -> None:
        self._port, self._rate, self._process = free_port(), rate, None
        self.size = SIZES[0]
        self.start()

    @property
    def address(self) -> str:
        """Of its pictures."""
        return f"http://127.0.0.1:{self._port}/camera.mjpg"

    def start(self) -> None:
        """Come (back). Blocks: until it listens."""
        options = ("--listen", f"127.0.0.1:{self._port}", "--size", self.size, "--rate", str(self._rate))
        self._process = subprocess.Popen([sys.executable, str(SIMULATOR), *options], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> None:
        """Go away."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def resize(self, size: str) -> None:
        """Change the size of the pictures while it is watched."""
        self.size = size
        address = f"http://127.0.0.1:{self._port}/size"
        urllib.request.urlopen(urllib.request.Request(address, size.encode(), method="PUT"), timeout=10).close()


@dataclass
class Outcome:
    """What both parts of the run showed.

    Attributes:
        failures: What was done, and after how many seconds both streams had come back.
        wrong: What was wrong.
    """

    seed: int
    undisturbed: Seen = field(default_factory=Seen)
    disturbed: Seen = field(default_factory=Seen)
    failures: list[tuple[str, float]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Return what is wrong."""
        new = {name: n for name, n in self.disturbed.switches.items() if name not in self.undisturbed.switches}
        return [*(f"switch: {name}, {n} frames" for name, n in new.items()), *self.wrong]

    def table(self) -> str:
        """Return a Markdown table of the two parts, then the failures."""
        lines = [
            "| part | frames judged | masks on their object | hidden | on another object |",
            "|---|---|---|---|---|",
        ]
        for name, seen in (("undisturbed", self.undisturbed), ("with failures", self.disturbed)):
            counts = (seen.frames, seen.on_own, seen.hidden, seen.switches)
            lines.append(f"| {name} | {' | '.join(str(sum(count.values())) for count in counts)} |")
        kinds = Counter(what.split()[0] for what, _ in self.failures)
        slowest = max((seconds for _, seconds in self.failures), default=0.0)
        done = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        events = sum(self.events.values())
        lines += ["", f"Seed {self.seed}: {done}. The slowest recovery took {slowest:.1f} s. Events: {events}."]
        return "\n".join(lines)


def compare_with_faults(model: dict[str, Any], folder: Path, args: argparse.Namespace) -> Outcome:
    """Run both parts.

    Args:
        model: Settings of the model.
        folder: For the daemon.
        args: ``seed``, ``rate``, ``minutes``, ``undisturbed``, ``start_timeout`` and ``prepare_timeout`` of the
            command line.
    """
    outcome = Outcome(args.seed)
    with contextlib.ExitStack() as cleanup:
        cameras = {stream: Camera(args.rate) for stream in STREAMS}
        for camera in cameras.values():
            cleanup.callback(camera.stop)
        settings = {
            "model": model,
            "streams": {stream: {"source": camera.address} for stream, camera in cameras.items()},
        }
        daemon = cleanup.enter_context(soak_daemon(settings, folder, args.start_timeout))
        watcher = cleanup.enter_context(Watcher(daemon.masks, args.rate))
        controller = cleanup.enter_context(Controller(daemon.control, timeout_s=60))
        for stream in STREAMS:
            _mark(stream, watcher, controller)
        daemon_engine(daemon.masks, args.prepare_timeout)
        _wait_for_snapshots(folder, time.time())
        before = _objects(controller)
        watcher.seen = Seen()
        time.sleep(60 * args.undisturbed)
        outcome.undisturbed, watcher.seen = watcher.seen, Seen()
        injector = Injector(daemon, cameras, watcher, random.Random(args.seed))
        until = time.monotonic() + 60 * args.minutes
        while time.monotonic() < until:
            what, expected = injector.next()
            outcome.failures.append((what, injector.wait_until_recovered(what, expected, outcome.wrong)))
            print(f"{outcome.failures[-1][1]:6.1f} s  {what}", flush=True)
        outcome.disturbed = watcher.seen
        if (after := _objects(controller)) != before:
            outcome.wrong.append(f"objects were {before}, and are {after}")
        if outcome.wrong:
            print(daemon.log.read_text(), file=sys.stderr)
    outcome.events = Counter(event.event for event in watcher.events)
    outcome.wrong += [f"lost: {lost}" for lost in watcher.lost_events()]
    return outcome


Expected = list[tuple[str, str | None]]
"""Events that a failure must cause: kind and stream; None: of any."""


class Injector:
    """Causes failures, one after the other, by a seed."""

    def __init__(self, daemon: SoakDaemon, cameras: dict[str, Camera], watcher: Watcher, chance: random.Random) -> None:
        self._daemon, self._cameras, self._watcher, self._chance = daemon, cameras, watcher, chance
        self._seen = 0

    def next(self) -> tuple[str, Expected]:
        """Cause a failure; return what it was and which events it must cause. Blocks: while it lasts."""
        self._seen = len(self._watcher.events)
        kinds: list[Callable[[], tuple[str, Expected]]] = [
            self._kill,
            self._freeze,
            self._outage,
            self._resize,
            self._ignore,
        ]
        return self._chance.choices(kinds, weights=(4, 2, 2, 1, 1))[0]()

    def wait_until_recovered(self, what: str, expected: Expected, wrong: list[str]) -> float:
        """Wait for new frames of all streams and for the events; return the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() < began + _RECOVERY_S:
            came = [(event.event, event.stream) for event in self._watcher.events[self._seen :]]
            missing = [one for one in expected if not any(one[0] == kind and one[1] in (None, of) for kind, of in came)]
            late = [s for s in STREAMS if self._watcher.newest[s][0] <= began]
            if not missing and not late and self._daemon.ready():
                return time.monotonic() - began
            time.sleep(0.1)
        wrong.append(f"after {what}: missing events {missing}, no frames of {late}, ready: {self._daemon.ready()}")
        return time.monotonic() - began

    def _process(self) -> psutil.Process:
        """Choose a process; the names are sorted, so that the seed decides and not their order."""
        names = ("capture:a", "capture:b", "control", "publisher", "web", "worker", "worker")
        name = self._chance.choice(names)
        while True:  # it may be on its way back
            for process in self._daemon.process.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.name() == name and process.status() != psutil.STATUS_ZOMBIE:
                        return process
            time.sleep(0.05)

    def _kill(self) -> tuple[str, Expected]:
        process = self._process()
        name = process.name()
        process.kill()
        kind, _, stream = name.partition(":")
        expected: Expected = [(f"{kind}_restarted", stream or None)]
        if kind == "worker":
            expected += [("restored", each) for each in STREAMS]
        return f"kill {name}", expected

    def _freeze(self) -> tuple[str, Expected]:
        process, seconds = self._process(), self._chance.uniform(0.5, 8)
        name = process.name()
        process.suspend()
        time.sleep(seconds)
        with contextlib.suppress(psutil.NoSuchProcess):  # taken for hung and replaced
            process.resume()
        return f"freeze {name} for {seconds:.1f} s", []

    def _outage(self) -> tuple[str, Expected]:
        stream, seconds = self._chance.choice(STREAMS), self._chance.uniform(1, 6)
        camera = self._cameras[stream]
        camera.stop()
        time.sleep(seconds)
        camera.size = self._chance.choice(SIZES)
        camera.start()
        return f"outage of camera {stream} for {seconds:.1f} s", [
            ("stream_reconnecting", stream),
            ("stream_connected", stream),
        ]

    def _resize(self) -> tuple[str, Expected]:
        stream = self._chance.choice(STREAMS)
        camera = self._cameras[stream]
        camera.resize(next(size for size in SIZES if size != camera.size))
        return f"resize camera {stream} to {camera.size}", []

    def _ignore(self) -> tuple[str, Expected]:
        seconds = self._chance.uniform(2, 8)
        with zmq.Context.instance().socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.RCVHWM, 1)
            socket.setsockopt(zmq.LINGER, 0)
            socket.subscribe(b"")
            socket.connect(self._daemon.masks)
            time.sleep(seconds)
        return f"subscriber that reads nothing for {seconds:.1f} s", []


def _mark(stream: str, watcher: Watcher, controller: Controller) -> None:
    """Click each object of a stream's newest frame until its mask is right."""
    for obj_id, name in watcher.scene((320, 180)).names.items():
        for _ in _until(_RECOVERY_S, f"object {obj_id} of {stream} marked"):
            if stream not in watcher.newest:
                continue
            _, pair, number = watcher.newest[stream]
            scene = watcher.scene(pair.masks.size)
            own = next((obj for obj in pair.masks.objects if obj.id == obj_id), None)
            if own is not None and iou(own.mask, scene.truth(number)[obj_id]) > SAME:
                break
            if (place := scene.click_point(number, obj_id)) is None:
                continue
            with contextlib.suppress(ControlError):  # the frame has expired
                controller.add_prompt(
                    stream, points=[place], coords="pixels", object_id=obj_id, label=name, frame=pair.frame
                )
                time.sleep(0.5)


def _wait_for_snapshots(folder: Path, since: float) -> None:
    """Wait until the memory of what was marked is saved: a busy machine takes its time with the first snapshots."""
    for _ in _until(_RECOVERY_S, "snapshots of what was marked"):
        files = [folder / "state" / f"{stream}.stream" for stream in STREAMS]
        if all(file.exists() and file.stat().st_mtime > since for file in files):
            return


def _until(seconds: float, what: str) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds:g} s: {what}")


def _objects(controller: Controller) -> dict[str, list[tuple[int, str]]]:
    return {entry.stream: [(obj.id, obj.label) for obj in entry.objects] for entry in controller.list()}
