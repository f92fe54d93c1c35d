"""The slowest frames: the 20 frames after every event in a tracker, against its steady state.

    python bench/steady.py
    python bench/steady.py --model sam2.1_hiera_t --image-size 512 --compile on

Video frames in, masks of the video's size out, one stream. After each event, the slowest of the next 20 frames is
divided by the median of 60 frames in which nothing happens, with the same objects. The prompt itself is timed apart.
It begins when the model has been converted or compiled, and says what ran it.
A sam2 config gets random weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hardware import write_results
from prepared import LIMIT_S, tracker_engine
from random_model import model_settings

from streamseg.config.schema import ModelConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.models.registry import resolve
from streamseg.sources.scene.source import Scene
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import Point, Prompt

STREAM = "s"
AFTER = 20
STEADY = 60


class Player:
    """Tracks frames of the scene and times them."""

    def __init__(self, tracker: Sam2Tracker) -> None:
        self._tracker = tracker
        self._pictures = {size: pictures(size) for size in ((1280, 720), (640, 360))}
        self.size = (1280, 720)
        self._number = 0
        tracker.open_stream(STREAM)

    def frames_ms(self, count: int) -> list[float]:
        """Track ``count`` frames; return the time of each in ms."""
        times = []
        for _ in range(count):
            shown = self._pictures[self.size]
            frame = Frame(
                self._number, 0, *shown[self._number % len(shown)], FrameStamps(0, "file", 0, 0, None, (1, 25))
            )
            began = time.perf_counter()
            self._tracker.track({STREAM: frame})
            times.append(1000 * (time.perf_counter() - began))
            self._number += 1
        return times

    def prompt(self, prompt: Prompt) -> None:
        """Prompt the newest frame."""
        self._tracker.add_prompt(STREAM, prompt)

    def remove(self, obj_id: int) -> None:
        """Remove an object."""
        self._tracker.remove_object(STREAM, obj_id)

    def resize(self) -> None:
        """Continue with another video size."""
        self.size = (640, 360)


def pictures(size: tuple[int, int]) -> list[tuple[FrameFormat, tuple[np.ndarray, ...]]]:
    """Return ten frames of the scene as RGB."""
    scene = Scene(f"scene:simple?size={size[0]}x{size[1]}")
    rgb = FrameFormat(*size, "rgb24")
    return [(rgb, (scene.render(index).reshape(size[1], 3 * size[0]),)) for index in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--prepare-timeout", type=float, default=LIMIT_S, help="most seconds until it is prepared")
    parser.add_argument("--steady", type=int, default=STEADY, help="frames of each median")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = ModelConfig(
            **model_settings(
                args.model, Path(folder), image_size=args.image_size, compile=args.compile, threads=args.threads
            )
        )
        began = time.perf_counter()
        tracker = Sam2Tracker.from_config(resolve(settings), settings)
    tracker.warm_up(lambda what, share: None)
    start_s = time.perf_counter() - began
    player = Player(tracker)
    engine = tracker_engine(tracker, lambda: player.frames_ms(1), args.prepare_timeout)
    events: dict[str, Callable[[], None]] = {
        "first object, a box": lambda: player.prompt(Prompt(1, box=(300, 200, 700, 500))),
        "second object, a click": lambda: player.prompt(Prompt(2, points=(Point(900, 300),))),
        "a correction": lambda: player.prompt(Prompt(1, points=(Point(500, 300), Point(20, 20, 0)))),
        "third object": lambda: player.prompt(Prompt(3, points=(Point(200, 600),))),
        "one object removed": lambda: player.remove(2),
        "another video size": player.resize,
    }
    rows = []
    for name, happen in events.items():
        began = time.perf_counter()
        happen()
        event_ms = 1000 * (time.perf_counter() - began)
        after = player.frames_ms(AFTER)
        steady = statistics.median(player.frames_ms(args.steady))
        rows.append({"event": name, "event_ms": event_ms, "steady_ms": steady, "ratio": max(after) / steady})
    recompiles = f"Graphs compiled after warm-up: {tracker.recompiles}. Start: {start_s:.1f} s."
    text = f"{table(rows)}\n\nEngine: {engine}. {recompiles}"
    print(text)
    write_results(text, {"rows": rows, "recompiles": tracker.recompiles, "engine": engine}, args)


def table(rows: list[dict[str, float | str]]) -> str:
    """Rows as Markdown."""
    lines = ["| after | the event, ms | median, ms per frame | slowest of 20 / median |", "|---|---|---|---|"]
    lines += [
        f"| {row['event']} | {row['event_ms']:.1f} | {row['steady_ms']:.1f} | {row['ratio']:.2f} |" for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
