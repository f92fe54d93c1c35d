"""How fast the tracker is beside the official code: same weights, same frames in memory, one process, one run.

Arms of one case run in blocks that alternate, in an order that rotates; what counts are the ratios of one round. The
compute step alone is timed: a normalised frame on the device in, low-res masks on the device out (``pipeline.py`` and
``latency.py`` time the rest).

    python bench/tracker.py                          # the grid of this machine: a small one on a CPU
    python bench/tracker.py --models sam2.1_hiera_t --sizes 512 --objects 1 8 --dtypes bfloat16
    python bench/tracker.py --vos --fork PATH        # with the slow arms
    uv run --with transformers python bench/tracker.py      # with the arm `transformers`

Arms: ``official`` is ``SAM2VideoPredictor``, its dictionaries pruned (bit-exact, ``tests/tracker/test_parity.py``).
``official vos`` is ``SAM2VideoPredictorVOS`` (``vos_optimized=True``). ``fork`` and ``fork forced`` are the camera
predictor in a checkout, as shipped and with its compile flags set (``camera_fork.py``). ``transformers`` is Hugging
Face's model of the same weights, where its package is importable, for the SAM 2.1 models alone: in the last precision
given and, if that is given too, in float32 (``transformers_video.py``). The ``max-autotune`` of
``official vos`` and ``fork forced`` takes many minutes on a CPU: there they run only with ``--vos``. Known handicaps:
the official predictor loops over objects, and its VOS mode leaves glue eager; the fork as shipped compiles nothing, and
its outputs differ from the reference.

Weights are random, but for nano: that does not change the speed. ``agree`` is the share of pixels on whose side an arm
and the official float32 code agree, on the frames after the prompts; ``official`` in another precision is the floor.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from camera_fork import ForkArm
from hardware import write_results
from sam2.sam2_video_predictor import SAM2VideoPredictorVOS
from timed import prompt_mask, timed
from torch import Tensor
from torch.nn import functional

from streamseg.sources.scene import Scene
from streamseg.tracker.build import build_model, build_reference_model
from streamseg.tracker.compile import CompiledEngine
from streamseg.tracker.engine import Engine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.reference import ReferencePredictor

NANO_WEIGHTS = Path(__file__).parent.parent / "streamseg" / "models" / "nano.pt"
DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRANSFORMERS = find_spec("transformers") is not None
FIRST_FRAMES = 20
CLIP_FRAMES = 40


class Arm(Protocol):
    """One way to track."""

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """Take the first frame of every camera and prompt its objects with :func:`prompt_mask`."""
        ...

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """Track those frames of the clip on every camera, see :func:`timed`; logits are the first camera's."""
        ...

    def close(self) -> None:
        """Free what it holds."""


class PredictorArm:
    """Ours, or the official code, in one precision."""

    def __init__(self, predictor: CameraPredictor | ReferencePredictor, autocast: torch.dtype | None) -> None:
        self._predictor = predictor
        self._autocast = autocast
        self._streams: list[str] = []
        self._frames = torch.empty(0)

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """See :class:`Arm`."""
        for stream in self._streams:
            self._predictor.close_stream(stream)
        self._frames = frames
        self._streams = [f"camera{index}" for index in range(cameras)]
        with self._precision():
            for stream in self._streams:
                self._predictor.open_stream(stream)
                self._predictor.track({stream: frames[0]})
                for index in range(objects):
                    self._predictor.add_prompt(stream, index, mask=prompt_mask(index))

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """See :class:`Arm`."""
        return timed(self._track, self._frames, numbers)

    def close(self) -> None:
        """See :class:`Arm`."""

    def _track(self, frame: Tensor) -> Tensor:
        with self._precision():
            return self._predictor.track(dict.fromkeys(self._streams, frame))[self._streams[0]].mask_logits

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self._predictor.model.device.type, dtype=self._autocast, enabled=self._autocast is not None
        )


@dataclass
class Row:
    """One arm of one case. Times are milliseconds a frame of all cameras."""

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
    gpu_peak_mib: float
    rounds_ms: list[float] = field(repr=False)
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Official arm -> how many times as fast: least, median, greatest round."""


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
    parser.add_argument("--block", type=int, default=100 if cuda else 4, help="frames of a block")
    parser.add_argument("--warm-up", type=int, default=50 if cuda else 16, help="frames before the first block")
    parser.add_argument("--vos", action=argparse.BooleanOptionalAction, default=cuda, help="the arm `official vos`")
    parser.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, default=True, help="the arm `ours compiled`"
    )
    parser.add_argument("--fork", type=Path, help="checkout of segment-anything-2-real-time: adds its two arms")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="append the table here")
    args = parser.parse_args()
    if not TRANSFORMERS:
        print("without the arm `transformers`: its package is not installed", flush=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if cuda else "cpu")
    rows: list[Row] = []
    for model, size in itertools.product(args.models, args.sizes):
        frames = clip(size, device)
        arms = make_arms(model, size, device, args)
        for objects, cameras in itertools.product(args.objects, args.cameras):
            case = (model, size, objects, cameras)
            found = measure(case, arms, frames, rounds=args.rounds, block=args.block, warm_up=args.warm_up)
            print(table(found, header=not rows), flush=True)
            rows += found
        del arms
    write_results(table(rows), {"rows": [asdict(row) for row in rows]}, args)


def make_arms(model: str, size: int, device: torch.device, args: argparse.Namespace) -> dict[str, Callable[[], Arm]]:
    """Name -> what makes the arm. The official one in float32 comes first: the others are compared with its masks."""
    checkpoint = NANO_WEIGHTS if model == "nano" else None

    def official(vos: bool, dtype: torch.dtype | None) -> Arm:
        built = build_reference_model(model, image_size=size, checkpoint=checkpoint, device=device)
        see_objects(built, checkpoint)
        if vos:
            # What `build_sam2_video_predictor(vos_optimized=True)` makes, of a model that is built already. The encoder
            # is compiled as `compile_image_encoder=True` has SAM2Base do it.
            built.__class__ = SAM2VideoPredictorVOS
            built._compile_all_components()
            built.image_encoder.forward = torch.compile(
                built.image_encoder.forward, mode="max-autotune", fullgraph=True, dynamic=False
            )
        return PredictorArm(ReferencePredictor(built, max_objects=max(args.objects)), dtype)

    def ours(engine: type[Engine], dtype: torch.dtype | None) -> Arm:
        built = build_model(model, image_size=size, checkpoint=checkpoint, device=device)
        see_objects(built, checkpoint)
        predictor = CameraPredictor(built, max_objects=max(args.objects), autocast=dtype, engine=engine)
        predictor.warm_up(lambda what, share: None)
        return PredictorArm(predictor, None)

    def fork(forced: bool) -> Arm:
        built = build_model(model, image_size=size, checkpoint=checkpoint)
        see_objects(built, checkpoint)
        return ForkArm(args.fork, model, size, built.state_dict(), DTYPES[args.dtypes[-1]], forced=forced)

    def hugging_face(dtype: torch.dtype | None) -> Arm:
        # Not above: the package is no dependency of this project.
        from transformers_video import TransformersArm

        built = build_model(model, image_size=size, checkpoint=checkpoint)
        see_objects(built, checkpoint)
        return TransformersArm(built, dtype or torch.float32, device)

    arms: dict[str, Callable[[], Arm]] = {}
    for name in args.dtypes if "float32" in args.dtypes else ["float32", *args.dtypes]:
        dtype = DTYPES[name]
        arms[f"official {name}"] = lambda dtype=dtype: official(False, dtype)
        if name in args.dtypes:
            if args.vos:
                arms[f"official vos {name}"] = lambda dtype=dtype: official(True, dtype)
            arms[f"ours eager {name}"] = lambda dtype=dtype: ours(Engine, dtype)
            if args.compiled:
                arms[f"ours compiled {name}"] = lambda dtype=dtype: ours(CompiledEngine, dtype)
    if TRANSFORMERS and model.startswith("sam2.1_hiera_"):
        for name in args.dtypes:
            if name in ("float32", args.dtypes[-1]):
                arms[f"transformers {name}"] = lambda dtype=DTYPES[name]: hugging_face(dtype)
    if args.fork:
        for forced in (False, True) if args.vos else (False,):
            name = f"{'fork forced' if forced else 'fork'} {args.dtypes[-1]}"
            arms[name] = lambda forced=forced: fork(forced)
    return arms


@torch.no_grad()
def see_objects(model: torch.nn.Module, checkpoint: Path | None) -> None:
    """Let random weights see every object: an unseen one has a constant mask, and nothing could be compared."""
    if checkpoint is None:
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(8.0)


def clip(size: int, device: torch.device) -> Tensor:
    """``[CLIP_FRAMES, 3, size, size]``: the generated scene, normalised, on the device."""
    scene = Scene("scene:simple?size=640x360")
    pictures = np.stack([scene.render(index) for index in range(CLIP_FRAMES)])
    rgb = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(rgb, size=(size, size), mode="bilinear", antialias=True) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((resized - mean) / std).to(device)


def measure(
    case: tuple[str, int, int, int],
    makers: dict[str, Callable[[], Arm]],
    frames: Tensor,
    *,
    rounds: int,
    block: int,
    warm_up: int,
) -> list[Row]:
    """Warm every arm up, then run their blocks in turns."""
    arms, masks, starts, first, peaks = {}, {}, {}, {}, {}
    for name, make in makers.items():
        peak_begins(frames.device)
        began = time.perf_counter()
        arms[name] = arm = make()
        arm.start(frames, case[2], case[3])
        outputs, times = arm.run(range(1, warm_up + 1))
        starts[name] = time.perf_counter() - began - sum(times[1:])
        masks[name] = torch.stack([output.float().cpu() for output in outputs]) > 0
        first[name] = 1000 * max(times[1:FIRST_FRAMES])
        peaks[name] = peak_mib(frames.device)
    blocks: dict[str, list[list[float]]] = {name: [] for name in arms}
    names = list(arms)
    for index in range(rounds):
        turn = names[index % len(names) :] + names[: index % len(names)]
        for name in turn:
            begin = warm_up + 1 + index * block
            blocks[name].append(arms[name].run(range(begin, begin + block))[1])
    for arm in arms.values():
        arm.close()
    medians = {name: [1000 * statistics.median(times) for times in blocks[name]] for name in names}
    rows = []
    for name in names:
        everything = [1000 * value for times in blocks[name] for value in times]
        rows.append(
            Row(
                *case,
                arm=name,
                median_ms=statistics.median(everything),
                p99_ms=float(np.percentile(everything, 99)),
                start_s=starts[name],
                first_frames_max_ms=first[name],
                agree=float((masks[name] == masks[names[0]]).float().mean()),
                gpu_peak_mib=peaks[name],
                rounds_ms=medians[name],
                ratios={
                    other: spread([theirs / mine for theirs, mine in zip(medians[other], medians[name], strict=True)])
                    for other in names
                    if other != name and not other.startswith("ours")
                },
            )
        )
    return rows


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def peak_begins(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def table(rows: list[Row], *, header: bool = True) -> str:
    """Rows as Markdown; ratios are median (least to greatest) of the rounds."""
    lines = []
    if header:
        lines += [
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
