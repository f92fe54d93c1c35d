"""What a swap of the engine costs a camera: frames are tracked while the model is converted or compiled.

    python bench/swap.py                                                        # OpenVINO, on a CPU
    python bench/swap.py --model sam2.1_hiera_t --image-size 512                # torch's compiler, on CUDA
    python bench/swap.py --fresh                                                # nothing cached

Video frames of 720p in, masks of the video's size out, one object, as fast as they can be tracked. The result is the
longest frame before, at and after the swap, next to the median before and after. A sam2 config gets random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from hardware import write_results
from random_model import model_settings
from steady import STREAM, Player

from streamseg.config.schema import ModelConfig
from streamseg.models.registry import resolve
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import Prompt

AT = 40
"""Frames around the swap that count as at the swap: on CUDA it records a graph in each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--fresh", action="store_true", help="with an empty cache")
    parser.add_argument("--limit", type=float, default=600.0, help="most seconds until the swap")
    parser.add_argument("--after", type=int, default=100, help="frames after the swap")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.fresh:
            os.environ["XDG_CACHE_HOME"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        given = model_settings(args.model, Path(folder), image_size=args.image_size, dtype=args.dtype)
        settings = ModelConfig(**given)
        began = time.perf_counter()
        tracker = Sam2Tracker.from_config(resolve(settings), settings)
        tracker.warm_up(lambda what, share: None)
        player = Player(tracker)
        player.frames_ms(1)
        player.prompt(Prompt(1, box=(300, 200, 700, 500)))
        first_mask_s = time.perf_counter() - began
        row = {"first_mask_s": first_mask_s, **swapped(tracker, player, began, args.limit, args.after)}
    text = table(row)
    print(text)
    write_results(text, {"row": row, "stream": STREAM}, args)


def swapped(tracker: Sam2Tracker, player: Player, began: float, limit_s: float, after: int) -> dict[str, float | str]:
    """Track until the engine has changed, and a little longer."""
    eager: list[float] = []
    while tracker.engine.startswith("eager (") or not eager or tracker.engine == "eager":
        eager += player.frames_ms(1)
        if "failed" in tracker.engine or time.perf_counter() - began > limit_s:
            break
    swap_s = time.perf_counter() - began
    later = player.frames_ms(after)
    around = eager[-AT:] + later[:AT]
    return {
        "engine": tracker.engine,
        "swap_s": swap_s,
        "before_frames": len(eager),
        "before_ms": statistics.median(eager),
        "before_max_ms": max(eager[:-AT], default=0.0),
        "around_max_ms": max(around),
        "after_ms": statistics.median(later),
        "after_max_ms": max(later[AT:], default=0.0),
    }


def table(row: dict[str, float | str]) -> str:
    """As Markdown."""
    columns = {
        "engine": "engine",
        "first_mask_s": "model loaded and first prompt, s",
        "swap_s": "swap, s",
        "before_frames": "frames until then",
        "before_ms": "median before, ms",
        "before_max_ms": "longest before, ms",
        "around_max_ms": f"longest within {AT} frames, ms",
        "after_ms": "median after, ms",
        "after_max_ms": "longest after, ms",
    }
    values = [row[name] if isinstance(row[name], str) else f"{row[name]:.4g}" for name in columns]
    return f"| {' | '.join(columns.values())} |\n{'|---' * len(columns)}|\n| {' | '.join(map(str, values))} |"


if __name__ == "__main__":
    main()
