"""Objects through restarts: a worker and a daemon that are killed at a random frame, many times.

    python bench/restarts.py --seeds 20 --json restarts.json

An interrupted run continues from its ``--json``: seeds in this file are not run again.

``scene:default`` with nano. A file has no gap: the masks after a killed worker are compared with those of an
undisturbed run. A camera has a gap of seconds: after a killed worker, and after a killed daemon, the same id must be on
the same object, or without a mask. An object counts if it was tracked well before, until it touches another one, since
what the model confuses then is not caused by the restart. The exit status is 1 if a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from hardware import write_results
from scene_identity import boxes, iou, mean_iou, on_another, touching
from soak_daemon import SoakDaemon, soak_daemon

from streamseg.client import ControlError, Controller, MaskFrame, Subscriber
from streamseg.sources.scene.source import Scene

MAX_DIFFERENCE: Final = 0.05
"""Of the mean IoU after the kill, for a file."""
MAX_WRONG: Final = 0.1
"""Share of masks on another object, for a camera."""
_SCENE: Final = "scene:default?size=480x270&fps=15"
_AFTER: Final = 15
"""Frames that are judged after a kill."""
_WELL: Final = 0.6
"""IoU of an object that is followed well."""
_ATTEMPTS: Final = 10
_RECEIVE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed.

    Attributes:
        seed: The seed.
        killed_at: Frame of the file after which the worker was killed.
        difference: Mean IoU after that, without a kill and with it.
        worker: Masks judged after the camera's worker was killed, and how many were on another object.
        daemon: The same after the daemon was killed.
        wrong: What is known of each wrong mask.
    """

    seed: int
    killed_at: int
    difference: float
    worker: tuple[int, int]
    daemon: tuple[int, int]
    wrong: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Return which limits were broken."""
        found = [f"seed {self.seed}: {self.difference:.3f} less IoU"] if self.difference >= MAX_DIFFERENCE else []
        for name, (judged, wrong) in (("worker", self.worker), ("daemon", self.daemon)):
            if judged and wrong / judged > MAX_WRONG:
                found.append(f"seed {self.seed}: {wrong} of {judged} masks on another object after the {name}'s death")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=90, help="of the file")
    parser.add_argument("--start-timeout", type=float, default=180.0, help="seconds until a daemon is ready")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    # With a time limit from outside, the daemon is still stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    model = {"name": args.model, "engine": "torch"}  # one engine all the time: two runs give the same masks
    undisturbed = file_run(model, args, kill_at=None)
    print(f"undisturbed: mean IoU {np.mean(list(undisturbed.values())):.3f}", flush=True)
    results = earlier_results(args.json)
    done = {one.seed for one in results}
    for seed in range(args.first, args.first + args.seeds):
        if seed not in done:
            results.append(run_seed(seed, model, args, undisturbed))
            print(results[-1], flush=True)
            write_results(table(results), {"seeds": [asdict(one) for one in results]}, args)
    faults = [fault for result in results for fault in result.faults()]
    for fault in faults:
        print(f"FAILED: {fault}")
    sys.exit(bool(faults))


def earlier_results(written: Path | None) -> list[SeedResult]:
    """Return the seeds that an interrupted run has finished."""
    if written is None or not written.exists():
        return []
    seeds = json.loads(written.read_text())["seeds"]
    return [SeedResult(**one | {"worker": tuple(one["worker"]), "daemon": tuple(one["daemon"])}) for one in seeds]


def run_seed(seed: int, model: dict[str, Any], args: argparse.Namespace, undisturbed: dict[int, float]) -> SeedResult:
    """Kill the worker over a file, then the worker and the daemon over a camera."""
    chance = random.Random(seed)
    killed_at = chance.randrange(10, args.frames - _AFTER)
    disturbed = file_run(model, args, kill_at=killed_at)
    after = [number for number in disturbed if number > killed_at and number in undisturbed]
    difference = float(np.mean([undisturbed[number] - disturbed[number] for number in after]))
    worker, daemon = camera_run(model, args, chance)
    wrong = [f"{name}: {mask}" for name, one in (("worker", worker), ("daemon", daemon)) for mask in one.wrong]
    return SeedResult(seed, killed_at, difference, worker.counts, daemon.counts, wrong)


def file_run(model: dict[str, Any], args: argparse.Namespace, *, kill_at: int | None) -> dict[int, float]:
    """Follow the scene as a file; return frame -> mean IoU."""
    scene = Scene(f"{_SCENE}&live=0")
    prompts = [
        {"object": one["object_id"], "box": list(one["box"])}  # type: ignore[call-overload]
        for one in boxes(scene, 0)
    ]
    settings = {"model": model, "streams": {"cam": {"source": scene.spec.address, "prompts": prompts}}}
    found: dict[int, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="restarts-") as folder,
        soak_daemon(settings, Path(folder), args.start_timeout) as daemon,
        Subscriber(daemon.masks, kinds=("masks",), mode="all") as subscriber,
    ):
        while max(found, default=0) < args.frames:
            message = next_masks(subscriber)
            found[message.pts] = mean_iou(message, scene)
            if kill_at is not None and message.pts >= kill_at:
                kill(child_named(daemon, "worker"))
                kill_at = None
    return found


@dataclass
class Judgement:
    """What came of well-followed objects after a kill.

    Attributes:
        judged: Number of masks.
        wrong: Those that were on another object.
    """

    judged: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int]:
        """How many masks, and how many of them wrong."""
        return self.judged, len(self.wrong)


def camera_run(model: dict[str, Any], args: argparse.Namespace, chance: random.Random) -> tuple[Judgement, Judgement]:
    """Follow the scene as a camera through a worker's death and a daemon's; return what was judged, and what wrong."""
    scene = Scene(f"{_SCENE}&live=1")
    settings = {"model": model, "streams": {"cam": {"source": scene.spec.address}}}
    with tempfile.TemporaryDirectory(prefix="restarts-") as folder:
        with camera(settings, Path(folder), args) as (daemon, subscriber):
            right = follow(daemon, subscriber, scene, Path(folder), chance.randrange(5, 25))
            kill(child_named(daemon, "worker"))
            worker = judge(subscriber, scene, right)
            right = follow(daemon, subscriber, scene, Path(folder), chance.randrange(5, 25))
            kill(daemon.process, *daemon.process.children(recursive=True))
        with camera(settings, Path(folder), args) as (_, subscriber):
            return worker, judge(subscriber, scene, right)


@contextmanager
def camera(settings: dict[str, Any], folder: Path, args: argparse.Namespace) -> Iterator[tuple[SoakDaemon, Subscriber]]:
    """Run a daemon on a folder that may have the state of an earlier one, and subscribe to its masks."""
    with (
        soak_daemon(settings, folder, args.start_timeout) as daemon,
        Subscriber(daemon.masks, kinds=("masks",)) as subscriber,
    ):
        yield daemon, subscriber


def follow(daemon: SoakDaemon, subscriber: Subscriber, scene: Scene, folder: Path, frames: int) -> set[int]:
    """Prompt all objects and track some frames; return the objects that are followed well."""
    for attempt in range(_ATTEMPTS):
        message = next_masks(subscriber)
        try:
            with Controller(daemon.control, timeout_s=60) as controller:
                controller.set_prompts("cam", boxes(scene, message.pts), frame=message.frame, on_expired="newest")
            break
        except ControlError as error:  # a busy machine takes more than the ten seconds that a request has
            if not error.retryable or attempt == _ATTEMPTS - 1:
                raise
        # What took too long is done all the same: a second request would only take as long again.
        if any(len(next_masks(subscriber).objects) >= 3 for _ in range(3)):
            break
    marked_at = time.time()
    while len(message.objects) < 3 or frames:
        message = next_masks(subscriber)
        frames = max(0, frames - 1)
    while not any(one.stat().st_mtime > marked_at for one in (folder / "state").glob("*.stream")):
        message = next_masks(subscriber)
    truth = scene.truth(message.pts)
    return {obj.id for obj in message.objects if iou(obj.mask, truth[obj.id]) > _WELL}


def judge(subscriber: Subscriber, scene: Scene, right: set[int]) -> Judgement:
    """Judge the masks of well-followed objects after a kill."""
    judgement = Judgement()
    seen: int | None = None  # the tracker has seen nothing of the gap
    for _ in range(_AFTER):
        message = next_masks(subscriber)
        right = right - touching(scene, message.pts if seen is None else seen, message.pts)
        seen = message.pts
        found = {obj_id: other for obj_id, other in on_another(message, scene).items() if obj_id in right}
        judgement.judged += len(found)
        judgement.wrong += [
            f"picture {message.pts}, object {obj.id}: {obj.state}, confidence {obj.confidence}, {obj.area} px"
            for obj in message.objects
            if found.get(obj.id)
        ]
    return judgement


def next_masks(subscriber: Subscriber) -> MaskFrame:
    message = subscriber.receive(timeout_s=_RECEIVE_S)
    assert isinstance(message, MaskFrame)
    return message


def child_named(daemon: SoakDaemon, name: str) -> psutil.Process:
    return next(child for child in daemon.process.children(recursive=True) if child.name() == name)


def kill(*processes: psutil.Process) -> None:
    """Kill processes at once, the last one first, so that no one is restarted meanwhile."""
    for process in reversed(processes):
        process.kill()
    psutil.wait_procs(processes, timeout=20)


def table(results: list[SeedResult]) -> str:
    """Return a Markdown table of all seeds."""
    lines = [
        "| seed | killed at frame | IoU lost (file) | masks, on another object (worker killed) | "
        "masks, on another object (daemon killed) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.seed} | {one.killed_at} | {one.difference:+.3f} | {one.worker[0]}, {one.worker[1]} | "
        f"{one.daemon[0]}, {one.daemon[1]} |"
        for one in results
    ]
    worst = max(one.difference for one in results)
    masks = [sum(pair) for pair in zip(*(one.worker for one in results), strict=True)]
    daemons = [sum(pair) for pair in zip(*(one.daemon for one in results), strict=True)]
    lines += ["", f"At most {worst:+.3f} IoU; {masks[1]} of {masks[0]} and {daemons[1]} of {daemons[0]} masks wrong."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
