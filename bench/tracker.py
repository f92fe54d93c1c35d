"""How fast the tracker is next to the official code: same weights, same frames in memory, one process, one run.

The arms of a case run in alternating blocks, in an order that rotates; the ratios within a round are what counts.
Only the compute step is timed: a normalized frame on the device in, low-res masks on the device out (``pipeline.py``
and ``latency.py`` time the rest).

    python bench/tracker.py                          # the grid of this machine: a small one on a CPU
    python bench/tracker.py --models sam2.1_hiera_t --sizes 512 --objects 1 8 --dtypes bfloat16
    python bench/tracker.py --vos --fork PATH        # with the slow arms
    uv run --with transformers python bench/tracker.py      # with the arm `transformers`

Arms:

- ``official``: ``SAM2VideoPredictor`` with its dictionaries pruned (bit-exact, ``tests/tracker/test_parity.py``).
- ``official vos``: ``SAM2VideoPredictorVOS`` (``vos_optimized=True``).
- ``fork``, ``fork forced``: the camera predictor from a checkout, as shipped and with all compile flags set
  (``camera_fork.py``).
- ``transformers``: Hugging Face's model with the same weights, if its package can be imported, for SAM 2.1 only; in
  the last precision given and, if that is given too, in float32 (``transformers_video.py``).
- ``ours openvino``: the default on a CPU. Its start includes the conversion, during which the product runs eagerly.
- ``ours compiled`` prepares only the sizes of its case, like the others, which compile at the first call. The product
  prepares all sizes, so its start takes longer (``start.py``).

Known handicaps: the official predictor loops over objects, and its VOS mode leaves glue code eager; the fork as
shipped compiles nothing, and its outputs differ from the reference; both take one camera after another. The start of
a fork includes the start of its process and its imports.

``official vos`` and ``fork forced`` compile with ``max-autotune``, which takes many minutes on a CPU: there they run
only with ``--vos``. Everywhere they run after all other arms were measured and written; then all arms are measured
again. An arm that raises is left out and named.

Weights are random, except nano's, which does not change the speed. ``agree`` is the share of pixels that fall on the
same side as in the official float32 code, on the frames after the prompts; ``official`` in another precision is the
floor.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from camera_fork import ForkArm
from hardware import write_results
from torch import Tensor
from torch.nn import functional
from tracker_arms import DTYPES, SLOW, TRANSFORMERS, Arm, Makers, make_arms

from streamseg.sources.scene.source import Scene
from streamseg.tracker.preprocess import MEAN, STD

OFFICIAL = "official float32"
FIRST_FRAMES = 20
CLIP_FRAMES = 40


class Begun(NamedTuple):
    """An arm up to the end of its warm-up.

    Attributes:
        start_s: Seconds from nothing to the end of the prompts.
        first_frames_max_ms: Slowest of the frames after them.
        masks: On the frames of the warm-up.
        gpu_peak_mib: Peak GPU memory of this arm's tensors, without what only the replay of a graph needs. None for an
            arm that is another process.
    """

    start_s: float
    first_frames_max_ms: float
    masks: Tensor
    gpu_peak_mib: float | None


@dataclass
class Row:
    """One arm of one case. Times are milliseconds per frame of all cameras."""

    model: str
    size: int
    objects: int
    cameras: int
    arm: str
    median_ms: float
    p99_ms: float
    start_s: float
    first_frames_max_ms: float
    agree: float
    gpu_peak_mib: float | None
    rounds_ms: list[float] = field(repr=False)
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Peer -> speed-up over it: lowest, median and highest round."""


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    big = ["sam2.1_hiera_t", "sam2.1_hiera_b+", "sam2.1_hiera_l"]
    parser.add_argument("--models", nargs="+", default=big if cuda else ["sam2.1_hiera_t", "nano"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 512] if cuda else [256])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4, 8, 16] if cuda else [1, 4])
    parser.add_argument("--cameras", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"] if cuda else ["float32", "bfloat16"]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=100 if cuda else 4, help="frames per block")
    parser.add_argument("--warm-up", type=int, default=50 if cuda else 16, help="frames before the first block")
    parser.add_argument("--vos", action=argparse.BooleanOptionalAction, default=cuda, help="the arm `official vos`")
    parser.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, default=True, help="the arm `ours compiled`"
    )
    parser.add_argument("--fork", type=Path, help="checkout of segment-anything-2-real-time: adds its two arms")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    if not TRANSFORMERS:
        print("without the arm `transformers`: its package is not installed", flush=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if cuda else "cpu")
    wake(device)
    report = Report(args)
    for model, size in itertools.product(args.models, args.sizes):
        frames = clip(size, device)
        for objects, cameras in itertools.product(args.objects, args.cameras):
            makers = make_arms(
                *(model, size, objects, cameras),
                dtypes=args.dtypes,
                device=device,
                compiled=args.compiled,
                slow=args.vos,
                fork=args.fork,
            )
            slow = {name: make for name, make in makers.items() if name.startswith(SLOW)}
            case = Case((model, size, objects, cameras), frames)
            # Slow arms come last, so that the figures of the others exist if time runs out.
            for arms in ({name: make for name, make in makers.items() if name not in slow}, slow):
                is_more = case.warm_up(arms, args.warm_up)
                report.put(case.measure(args.rounds, args.block, args.warm_up + 1) if is_more else [], case)
            case.close()


def wake(device: torch.device) -> None:
    """Make torch load its libraries, so that this is not counted as the first arm's start."""
    x = torch.ones(1, 8, 8, 8, device=device)
    functional.conv2d(x, x) @ x[0, 0, :1, :1]


def clip(size: int, device: torch.device) -> Tensor:
    """Return ``[CLIP_FRAMES, 3, size, size]``: the generated scene, normalized, on the device."""
    scene = Scene("scene:simple?size=640x360")
    pictures = np.stack([scene.render(index) for index in range(CLIP_FRAMES)])
    rgb = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(rgb, size=(size, size), mode="bilinear", antialias=True) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((resized - mean) / std).to(device)


class Case:
    """Arms that track the same objects on the same frames. An arm that raises is left out and named.

    Args:
        of: (Model, size, objects, cameras).
        frames: The clip, on the device.
    """

    def __init__(self, of: tuple[str, int, int, int], frames: Tensor) -> None:
        self.of = of
        self._frames = frames
        self._arms: dict[str, Arm] = {}
        self._begun: dict[str, Begun] = {}
        self.failures: dict[str, str] = {}

    def warm_up(self, makers: Makers, count: int) -> bool:
        """Make each arm, prompt it and track ``count`` frames. Returns whether any arm came up."""
        held = len(self._arms)
        for name, make in makers.items():
            print(f"{name}: warming up", flush=True)
            with self._noting_failures(name):
                self._begin(name, make, count)
            gc.collect()  # remains of an arm that failed
        return len(self._arms) > held

    def _begin(self, name: str, make: Callable[[], Arm], count: int) -> None:
        before_mib = begin_peak_mib(self._frames.device)
        began = time.perf_counter()
        arm = make()
        arm.start(self._frames, *self.of[2:])
        start_s = time.perf_counter() - began
        outputs, times = arm.run(range(1, count + 1))
        self._begun[name] = Begun(
            start_s,
            first_frames_max_ms=1000 * max(times[:FIRST_FRAMES]),
            masks=torch.stack([output.float().cpu() for output in outputs]) > 0,
            gpu_peak_mib=None if isinstance(arm, ForkArm) else peak_mib(self._frames.device) - before_mib,
        )
        self._arms[name] = arm

    def measure(self, rounds: int, block: int, first: int) -> list[Row]:
        """Run blocks of all arms in turn.

        Args:
            rounds: Blocks per arm.
            block: Frames per block.
            first: Number of the first frame.
        """
        names = [name for name in self._arms if name not in self.failures]
        blocks: dict[str, list[list[float]]] = {name: [] for name in names}
        for index in range(rounds):
            for name in names[index % len(names) :] + names[: index % len(names)]:
                if name in self.failures:
                    continue
                begin = first + index * block
                with self._noting_failures(name):
                    blocks[name].append(self._arms[name].run(range(begin, begin + block))[1])
        names = [name for name in names if name not in self.failures]
        medians = {name: [1000 * statistics.median(times) for times in blocks[name]] for name in names}
        return [self._row(name, blocks[name], medians) for name in names]

    def close(self) -> None:
        """Close all arms and free their memory."""
        while self._arms:
            self._arms.popitem()[1].close()
        torch._dynamo.reset()  # else it keeps every variant of the same code, and gives up at the eighth
        gc.collect()
        torch.cuda.empty_cache()

    def _row(self, name: str, blocks: list[list[float]], medians: dict[str, list[float]]) -> Row:
        everything = [1000 * value for times in blocks for value in times]
        begun, official = self._begun[name], self._begun.get(OFFICIAL)
        return Row(
            *self.of,
            arm=name,
            median_ms=statistics.median(everything),
            p99_ms=float(np.percentile(everything, 99)),
            start_s=begun.start_s,
            first_frames_max_ms=begun.first_frames_max_ms,
            agree=math.nan if official is None else float((begun.masks == official.masks).float().mean()),
            gpu_peak_mib=begun.gpu_peak_mib,
            rounds_ms=medians[name],
            ratios={
                other: spread([theirs / mine for theirs, mine in zip(medians[other], medians[name], strict=True)])
                for other in medians
                if other != name and not other.startswith("ours")
            },
        )

    @contextmanager
    def _noting_failures(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the other arms are measured all the same
            traceback.print_exc()
            self.failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def begin_peak_mib(device: torch.device) -> float:
    """Reset the peak; return the memory in use, since other arms hold some."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device) / 2**20


def peak_mib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


class Report:
    """Prints and writes everything measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._rows: dict[tuple[str, int, int, int], dict[str, Row]] = {}
        self._failed: dict[str, None] = {}

    def put(self, rows: Sequence[Row], case: Case) -> None:
        """Add rows of a case; they replace earlier rows of the same arms."""
        self._rows.setdefault(case.of, {}).update({row.arm: row for row in rows})
        model, size, objects, cameras = case.of
        for name, why in case.failures.items():
            self._failed[f"- {model}@{size}, {objects} x {cameras}: {name} failed: {why}"] = None
        everything = [row for of_case in self._rows.values() for row in of_case.values()]
        text = "\n".join([table(everything), *(["", *self._failed] if self._failed else [])])
        print(text, flush=True)
        write_results(text, {"rows": [asdict(row) for row in everything], "failed": [*self._failed]}, self._args)


def table(rows: list[Row]) -> str:
    """Rows as Markdown; ratios are median (lowest to highest) over the rounds."""
    lines = [
        "| model | objects x cameras | arm | median ms | p99 ms | first 20, worst ms | start s | agree "
        "| times as fast as |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = "; ".join(
            f"{name} {mid:.2f} ({low:.2f} to {high:.2f})" for name, (low, mid, high) in row.ratios.items()
        )
        cells = (
            *(f"{row.model}@{row.size}", f"{row.objects} x {row.cameras}", row.arm, f"{row.median_ms:.1f}"),
            *(f"{row.p99_ms:.1f}", f"{row.first_frames_max_ms:.1f}", f"{row.start_s:.1f}", f"{row.agree:.4f}"),
            ratios if row.arm.startswith("ours") else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
