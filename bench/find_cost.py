"""What ``find`` costs tracked streams on a saturated device: their rate, and the delays that looks add.

The device is one thread, and its time is the CPU time of that thread: waiting for other work on the machine does not
count. A camera has more frames than the model can track; between two of them looks have their turns, as in the worker.
Windows of all arms take turns in one run. Arms: ``off``, ``find`` with its defaults, and ``find, always`` with looks
that follow each other without a pause and so take their whole share of the time. Every object was marked by hand, so
looks have nothing to start and these arms track the same. In the last arm, ``unmarked``, nothing was marked: it tracks
what it finds, and each start of a found object is a delay as well.

    python bench/find_cost.py
    python bench/find_cost.py --model nano --windows 6 --seconds 10
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hardware import machine, write_results
from scene_run import SceneRun, scene_frame

from streamseg.config.schema import FindConfig, ModelConfig, PromptConfig
from streamseg.frame import Frame
from streamseg.protocol.published import FindCounts
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker
from streamseg.tracker.types import Tracker
from streamseg.worker.find.looks import LookSchedule

FPS = 100
"""Of the camera: more than the model can track."""
SCENE = "scene:simple?size=640x360"
ARMS = {
    "off": FindConfig(enabled=False),
    "find": FindConfig(),
    "find, always": FindConfig(every_s=0.1),
    "unmarked": FindConfig(),
}
UNPAIRED = ("off", "unmarked")
"""Arms without a rate to compare with: the second has other objects."""


class DeviceClock:
    """Seconds for which the device has worked."""

    def __init__(self) -> None:
        self._before_s = 0.0
        self._began: float | None = None

    def __call__(self) -> float:
        return self._before_s + (0.0 if self._began is None else time.thread_time() - self._began)

    def wait_until(self, at_s: float) -> None:
        """Let time pass, if that is later."""
        self._before_s = max(self._before_s, at_s)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block."""
        self._began = time.thread_time()
        try:
            yield
        finally:
            self._before_s, self._began = self(), None


@dataclass
class Arm:
    """One camera, tracked and looked at as the worker does it.

    Attributes:
        name: Of the arm.
        run: The stream.
        frames_s: The device's time of each frame.
        looks_s: The device's time of the looks after a frame, where there were any.
        rates: Tracked frames a second of the device, in each window.
    """

    name: str
    run: SceneRun
    frames_s: list[float] = field(default_factory=list)
    looks_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = DeviceClock()
        self._schedule = LookSchedule(self._clock)
        self._last = -1

    def play(self, seconds: float) -> None:
        """Track the newest frame again and again for some time of the device."""
        began, count = self._clock(), 0
        while self._clock() < began + seconds:
            self._clock.wait_until((self._last + 1) / FPS)  # it keeps up while there is nothing to track
            self._last = int(self._clock() * FPS + 1e-6)
            self._step(scene_frame(self.run.scene, self._last, fps=FPS))
            count += 1
        self.rates.append(count / (self._clock() - began))

    def _step(self, frame: Frame) -> None:
        began = self._clock()
        with self._clock.running():
            self.run.track_frame(frame)
            tracked = self._clock()
            self._schedule.note_frame(tracked - began)
            has_looked = self._schedule.run(self.run.stream.finders) is not None
        self.run.events += self.run.stream.take_events()
        self.frames_s.append(tracked - began)
        if has_looked:
            self.looks_s.append(self._clock() - tracked)


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--windows", type=int, default=6, help="of each arm")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window, in the device's time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    where = machine()
    tracker = create_tracker(ModelConfig(name=args.model, device="cpu", engine="torch", dtype="float32", threads=1))
    arms = [arm(name, tracker) for name in ARMS]
    for one in arms:
        one.play(1.0)  # its prompts, and what is slow when it runs first
        one.frames_s, one.looks_s, one.rates = [], [], []
    for number in range(args.windows):
        turn = number % len(arms)
        for one in arms[turn:] + arms[:turn]:
            one.play(args.seconds)
        print(f"\n{table(arms)}", flush=True)
    write_results(table(arms), {"arms": [{"arm": one.name, "rates": one.rates} for one in arms]}, args, where)


def arm(name: str, tracker: Tracker) -> Arm:
    """Return an arm on a scene whose objects stay in view."""
    scene = Scene(SCENE)
    truth = {} if name == "unmarked" else scene.truth(0)
    prompts = [PromptConfig(object=obj, points=(inner_point(mask),)) for obj, mask in truth.items()]
    return Arm(name, SceneRun(scene, tracker, ARMS[name], {"prompts": tuple(prompts)}, name=name))


def inner_point(mask: np.ndarray) -> tuple[float, float]:
    """Return the pixel of a mask that is nearest to the mean of its pixels."""
    places = np.argwhere(mask)
    row, column = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
    return float(column), float(row)


def table(arms: list[Arm]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| arm | frames/s | of the rate without | ms of a frame | longest frame | ms of looks after a frame "
        "| longest | looks | found | objects |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in arms:
        kept = np.mean(one.rates) / np.mean(arms[0].rates)
        counts = one.run.stream.finder.counts() or FindCounts()
        frames, looks = 1000 * np.array(one.frames_s), 1000 * np.array(one.looks_s or [0.0])
        lines.append(
            f"| {one.name} | {np.median(one.rates):.1f} | {'' if one.name in UNPAIRED else f'{kept:.1%}'} "
            f"| {np.median(frames):.1f} | {frames.max():.1f} | {np.median(looks):.1f} | {looks.max():.1f} "
            f"| {counts.looks} | {counts.found} | {len(one.run.ids())} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
