"""Where a frame's time goes: each stage of the tracker alone, then the whole step under torch's profiler.

    python bench/stages.py --model nano --dtype bfloat16
    python bench/stages.py --model sam2.1_hiera_t --image-size 1024 --dtype bfloat16 --trace trace.json

Eager. The bound is the time that a stage's arithmetic, counted by torch as it runs, would take at ``--tflops``, the
peak of the device. Without ``--tflops``, the peak is measured as the best of a few large matrix products.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import write_results
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from tracker import clip
from tracker_arms import DTYPES, NANO_WEIGHTS, PredictorArm, see_objects

from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.mask_edges import color_edged
from streamseg.tracker.postprocess import LowRes, to_results
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.attention_backend import synchronize
from streamseg.tracker.sam2.build import build_model

FILL_FRAMES = 17


@dataclass
class Row:
    """One stage."""

    stage: str
    ms: float
    gflop: float
    times_its_bound: float | None
    """None if it does no arithmetic that torch counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--video", type=int, nargs=2, default=(1920, 1080), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--tflops", type=float, help="peak of the device in this precision")
    parser.add_argument("--trace", type=Path, help="write a trace for chrome://tracing or ui.perfetto.dev")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path, help="write the stages here")
    parser.add_argument("--markdown", type=Path, help="write the stages and the most expensive operations here")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = NANO_WEIGHTS if args.model == "nano" else None
    model = build_model(args.model, image_size=args.image_size, checkpoint=checkpoint, device=device)
    see_objects(model, checkpoint)
    predictor = CameraPredictor(model, autocast=DTYPES[args.dtype])
    predictor.warm_up(lambda what, share: None)
    frames = clip(args.image_size, device)
    arm = PredictorArm(predictor, None)
    arm.start(frames, args.objects, cameras=1)
    arm.run(range(1, FILL_FRAMES))
    peak = args.tflops or measured_tflops(device, DTYPES[args.dtype] or torch.float32)
    rows = []
    for name, function in stages(predictor, frames[FILL_FRAMES], tuple(args.video)).items():
        milliseconds = median_ms(function, device, args.repeats)
        flops = counted_flops(function)
        rows.append(Row(name, milliseconds, flops / 1e9, milliseconds * peak * 1e9 / flops if flops else None))
    text = f"{table(rows)}\n\nPeak: {peak:.2f} TFLOP/s."
    print(f"{text}\n", flush=True)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        arm.run(range(FILL_FRAMES, FILL_FRAMES + 5))
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    most = profiled.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=50)
    print(most)
    if args.trace:
        profiled.export_chrome_trace(str(args.trace))
    found = {"peak_tflops": peak, "rows": [asdict(row) for row in rows]}
    write_results(f"{text}\n\n```\n{most}\n```", found, args)


def stages(predictor: CameraPredictor, image: torch.Tensor, video: tuple[int, int]) -> dict[str, Callable[[], object]]:
    """Return the stages of one frame, in order, on the predictor's present state."""
    step, bank, engine = predictor.step, predictor.bank, predictor.engine
    format_ = FrameFormat(*video, "yuv420p")
    rng = np.random.default_rng(0)
    planes = tuple(rng.integers(0, 255, shape, dtype=np.uint8) for shape in format_.plane_shapes)
    frame = Frame(0, 0, format_, planes, FrameStamps(0, "file", 0, 0, None, (1, 25)))
    preprocess = Preprocessor(image.shape[-1], image.device, torch.float32)
    (stream,) = predictor._streams
    known = predictor._streams[stream].remembered().values()
    lanes = torch.tensor([obj.lane for obj in known], device=image.device)
    number = predictor.frame(stream)
    index = torch.stack([lanes, torch.full_like(lanes, number + 1)])

    @torch.inference_mode()
    def run(function: Callable[[], Any]) -> Any:
        with engine.kernels(), engine.precision():  # as the engine runs it
            return function()

    features = run(lambda: step.encode(image[None]))
    own = features.select(torch.zeros(len(lanes), dtype=torch.int64, device=image.device))
    memory = run(lambda: step.read(bank, index, 1, False, own.colors))
    conditioned = run(lambda: step.condition(memory, own, False))
    logits, ious, _, score, _ = run(lambda: step._decode(conditioned, own, memory.others))
    masks, picture = LowRes(range(len(lanes)), logits[:, 0], ious, score[:, 0], video), preprocess.resize(frame)
    return {
        "preprocess": lambda: preprocess(frame),
        "encode": lambda: run(lambda: step.encode(image[None])),
        "memory attention": lambda: run(
            lambda: step.condition(step.read(bank, index, 1, False, own.colors), own, False)
        ),
        "decoder": lambda: run(lambda: step._decode(conditioned, own, memory.others)),
        "memory encoder": lambda: run(lambda: step._remember(step.as_map(own.top), logits, score)),
        "whole step": lambda: predictor.track({stream: image}),
        "postprocess, the model's edges": lambda: to_results([masks]),
        "postprocess, edges by colors": lambda: color_edged(masks, picture),
    }


def median_ms(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(3 + repeats):
        synchronize(device)
        began = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[3:])


def counted_flops(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def measured_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the speed of the fastest of a few square matrix products."""
    best = 0.0
    for side in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        a = torch.randn(side, side, dtype=dtype, device=device)
        best = max(best, 2 * side**3 / (median_ms(lambda a=a: a @ a, device, 5) * 1e9))
    return best


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    lines = ["| stage | ms | GFLOP | times its bound |", "|---|---|---|---|"]
    for row in rows:
        bound = "" if row.times_its_bound is None else f"{row.times_its_bound:.1f}"
        lines.append(f"| {row.stage} | {row.ms:.2f} | {row.gflop:.2f} | {bound} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
