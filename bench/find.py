"""What ``find`` gets right on the generated scene of visitors, over several seeds.

    python bench/find.py --models color nano --seeds 1 2 3 4 5
    python bench/find.py --models nano --seeds 1 --seconds 20

Every ``--step``-th frame is tracked, as with a model that is slower than the camera. Each look is done between two
frames, so the figures say what is found, not how fast. A visit is found in time within two looks of its beginning.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from find_score import FindScore
from hardware import write_results
from scene_run import FPS, SceneRun

from streamseg.config.schema import FindConfig, ModelConfig
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker
from streamseg.tracker.types import Tracker


@dataclass(frozen=True)
class Row:
    """What was counted with one model on one seed."""

    model: str
    seed: int
    visits: int
    recall: float
    duplicates: int
    switches: int
    late_deaths: int
    ghost_share: float
    seconds: float

    @property
    def duplicates_per_minute(self) -> float:
        """Of video."""
        return 60 * self.duplicates / self.seconds


def main() -> None:
    """Read the command line, run each model on each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["color", "nano"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--seconds", type=float, default=30, help="of video for each seed")
    parser.add_argument("--step", type=int, default=3, help="track every n-th frame of 30 a second")
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds of video between two looks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    rows = [measure(model, seed, args) for model in args.models for seed in args.seeds]
    text = table(rows, args.models)
    print(text)
    write_results(text, {"rows": [vars(row) for row in rows]}, args)


def measure(model: str, seed: int, args: argparse.Namespace) -> Row:
    """Run one model on one seed."""
    config = ModelConfig(name=model, device="cpu", engine="torch", dtype="float32", threads=args.threads)
    scene, began = Scene(f"scene:visit?seed={seed}"), time.monotonic()
    score = run(
        scene, create_tracker(config), FindConfig(every_s=args.every_s), range(0, int(args.seconds * FPS), args.step)
    )
    print(f"{model}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    last = int(args.seconds * FPS)
    ghosts = score.ghost_frames / score.frames
    return Row(
        model,
        seed,
        len(score.visits),
        score.recall(last),
        score.duplicates,
        score.switches,
        score.late_deaths,
        ghosts,
        args.seconds,
    )


def run(scene: Scene, tracker: Tracker, find: FindConfig, frames: range) -> FindScore:
    """Track frames of a scene and look between them; return what was right."""
    stage = SceneRun(scene, tracker, find, max_objects=16)
    score = FindScore.of(find.every_s, frames.step, FPS)
    for n in frames:
        stage.feed(n)
        score.add(n, scene.truth(n), stage.masks(), stage.ids())
    stage.stream.close()
    return score


def table(rows: list[Row], models: list[str]) -> str:
    """Return the rows, and a sum for each model, as Markdown."""
    lines = [
        "| model | seed | visits | found in time | duplicates a minute | switches | retired late | ghosts a frame |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        of_model = [row for row in rows if row.model == model]
        lines += [line(str(row.seed), [row]) for row in of_model] + [line("all", of_model)]
    return "\n".join(lines)


def line(name: str, rows: list[Row]) -> str:
    """Return one line: counts are sums, and each seed weighs the same."""

    def mean(of: Any) -> float:
        return float(sum(of(row) for row in rows) / len(rows))

    return (
        f"| {rows[0].model} | {name} | {sum(row.visits for row in rows)} | {mean(lambda row: row.recall):.2f} | "
        f"{mean(lambda row: row.duplicates_per_minute):.1f} | {sum(row.switches for row in rows)} | "
        f"{sum(row.late_deaths for row in rows)} | {mean(lambda row: row.ghost_share):.2f} |"
    )


if __name__ == "__main__":
    main()
