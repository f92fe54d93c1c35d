"""Automatic masks of one picture next to sam2's generator: time, memory, and whether the masks are the same.

    python bench/automask.py                                     # nano and tiny, as in RESULTS.md
    python bench/automask.py --models nano --rounds 3 --json r.json --markdown r.md
    python bench/automask.py --models sam2.1_hiera_t --side 8 --arms ours "ours bfloat16"
    uv run --with transformers python bench/automask.py          # with the arm `transformers`

The reference preset on a generated picture of 1280x720, with thresholds at which about 30 masks survive: the stability
score of the middle candidate, and the predicted IoU that leaves that many. Weights are random, except nano's; those of
the mask decoder are scaled up, so that masks and scores differ from point to point. Random masks are scattered over the
whole picture and have the same boxes, so they are not compared by their boxes (``box_nms_thresh`` 1).

Each arm is a process of its own; all take turns in each round. Memory is the peak of the process above that of the
loaded, warm model. Known handicaps: sam2's predictor only works at 1024 px, which the bench corrects. transformers'
pipeline cannot run nano; it loads its own copy of the weights.

Arms: ``reference`` (``SAM2AutomaticMaskGenerator``), ``ours``, ``ours exact`` (the reference's bits),
``ours bfloat16``, and ``transformers`` (its mask-generation pipeline, float32).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import machine, write_results
from pycocotools import mask as coco
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

from streamseg.images import AutomaticMasks, ImageModel, load_model
from streamseg.sources.scene.source import Scene
from streamseg.tracker.sam2.build import build_model

SIZE = (1280, 720)
SURVIVORS = 30
MARGIN = 0.02
"""Masks whose scores are above the thresholds by this much may not be missing."""

SAME_IOU = 0.5
"""Two masks of at least this IoU are the same one."""

TIMEOUT_S = 3600
Records = list[dict[str, Any]]
Generate = Callable[[np.ndarray], Records]


@dataclass(frozen=True, slots=True)
class Task:
    """What one arm's process does.

    Attributes:
        arm: Its name.
        model: A name of ``load_model``, or a config with random weights.
        side: Points along one side.
        parameters: Thresholds.
        threads: Of torch.
    """

    arm: str
    model: str
    side: int
    parameters: dict[str, float]
    threads: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm."""

    seconds: float
    cpu_s: float
    peak_mib: float
    records: Records


def load(name: str, autocast: torch.dtype | None = None) -> ImageModel:
    """Return a model; one of sam2's configs gets random weights."""
    if name == "nano":
        return ImageModel(load_model(name, device="cpu").network, name, autocast)
    network = build_model(name)
    decoder = network.sam_mask_decoder
    decoder.dynamic_multimask_via_stability = False
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].weight *= 30
    decoder.iou_prediction_head.layers[-1].weight *= 20
    for embedding in network.sam_prompt_encoder.point_embeddings:
        embedding.weight *= 3
    return ImageModel(network, None, autocast)


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    return Scene(f"scene:default?size={size[0]}x{size[1]}&objects=6").render(30)


def generator(task: Task) -> Generate:
    """Return an arm's function from a picture to records with ``coco_rle``."""
    model = load(task.model, torch.bfloat16 if task.arm.endswith("bfloat16") else None)
    given = {"points_per_side": task.side, "output_mode": "coco_rle", **task.parameters}
    if task.arm == "transformers":
        from transformers_masks import mask_generation

        return mask_generation(model.network, task.side, task.parameters)
    if task.arm == "reference":
        theirs = SAM2AutomaticMaskGenerator(model.network, **given)
        theirs.predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
        return theirs.generate
    return AutomaticMasks(model, exact=task.arm == "ours exact", **given).generate


def serve(task: Task, pipe: Connection) -> None:
    """Run an arm each time it is asked to, in a process of its own."""
    try:
        warnings.simplefilter("ignore")
        torch.set_num_threads(task.threads)
        generate = generator(Task(task.arm, task.model, 2, task.parameters, task.threads))
        generate(picture((96, 64)))
        del generate
        generate = generator(task)
        whole = picture()
        pipe.send("ready")
        while pipe.recv() == "run":
            gc.collect()
            before = reset_peak()
            started, cpu = time.perf_counter(), time.process_time()
            records = generate(whole)
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
            pipe.send(Run(seconds, cpu_s, (status_kib("VmHWM") - before) / 1024, records))
    except Exception:  # noqa: BLE001 - an arm that fails is named, and the others go on
        pipe.send(traceback.format_exc())


def reset_peak() -> int:
    """Return unused memory, make the process's peak what it holds now, and return that in KiB."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status_kib("VmRSS")


def status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def thresholds(model: str, side: int, sample: int) -> dict[str, float]:
    """Return thresholds at which about 30 masks of ``side`` points a side survive, by those of ``sample`` a side."""
    boxes = {} if model == "nano" else {"box_nms_thresh": 1.0}
    low = {"points_per_side": sample, "pred_iou_thresh": 0, "stability_score_thresh": 0, **boxes}
    every = AutomaticMasks(load(model), **low).find(picture())
    stability = float(np.median([mask.stability_score for mask in every]))
    stable = sorted(mask.predicted_iou for mask in every if mask.stability_score >= stability)
    survivors = max(1, round(SURVIVORS * sample**2 / side**2))
    least = stable[-min(survivors, len(stable))] - 1e-4
    return {"pred_iou_thresh": max(0.0, least), "stability_score_thresh": stability, **boxes}


def compare(wanted: Records, given: Records, limits: dict[str, float]) -> dict[str, float]:
    """Return how well the masks of an arm match those of the reference."""
    if not wanted or not given:
        return {"mean_iou": 0.0, "missing": len(wanted), "extra": len(given)}
    ious = coco.iou([one["segmentation"] for one in wanted], [one["segmentation"] for one in given], [0] * len(given))
    best = ious.max(axis=1)
    certain = [
        record["predicted_iou"] > limits["pred_iou_thresh"] + MARGIN
        and record["stability_score"] > limits["stability_score_thresh"] + MARGIN
        for record in wanted
    ]
    found = best >= SAME_IOU
    return {
        "mean_iou": float(best[found].mean()) if found.any() else 0.0,
        "missing": int((np.array(certain) & ~found).sum()),
        "certain": int(np.sum(certain)),
        "extra": int((ious.max(axis=0) < SAME_IOU).sum()),
    }


def measure(model: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each arm."""
    side = args.side if args.side else (32 if model == "nano" else 16)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as apart:  # what it needs is free before the arms start
        limits = apart.submit(thresholds, model, side, args.sample or side).result(TIMEOUT_S)
    arms = ["reference", *args.arms]
    arms += ["transformers"] if model != "nano" and find_spec("transformers") is not None else []
    pipes, runs = {}, {arm: list[Run]() for arm in arms}
    for arm in arms:
        ours, theirs = context.Pipe()
        task = Task(arm, model, side, limits, args.threads)
        context.Process(target=serve, args=(task, theirs), daemon=True).start()
        if (said := receive(ours)) == "ready":
            pipes[arm] = ours
        else:
            print(f"{arm}: {said}", file=sys.stderr)
    for number in range(args.rounds):
        order = list(pipes)
        for arm in order[number % len(order) :] + order[: number % len(order)]:
            pipes[arm].send("run")
            said = receive(pipes[arm])
            if isinstance(said, Run):
                runs[arm].append(said)
                print(f"{model} {arm}: {said.seconds:.1f} s, {said.peak_mib:.0f} MiB", file=sys.stderr, flush=True)
            else:
                print(f"{arm}: {said}", file=sys.stderr)
                del pipes[arm]
    for pipe in pipes.values():
        pipe.send("end")
    return [row(model, side, arm, runs, limits) for arm in arms if runs[arm]]


def receive(pipe: Connection) -> Any:
    if not pipe.poll(TIMEOUT_S):
        return f"no answer for {TIMEOUT_S} s"
    try:
        return pipe.recv()
    except EOFError:
        return "the process ended"


def row(model: str, side: int, arm: str, runs: dict[str, list[Run]], limits: dict[str, float]) -> dict[str, Any]:
    reference, own = runs["reference"], runs[arm]
    pairs = list(zip(reference, own, strict=False))
    return {
        "model": model,
        "points": side * side,
        "arm": arm,
        "masks": len(own[0].records),
        "seconds": statistics.median(run.seconds for run in own),
        "cpu_s": statistics.median(run.cpu_s for run in own),
        "peak_mib": max(run.peak_mib for run in own),
        "faster": statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs),
        "faster_cpu": statistics.median(theirs.cpu_s / ours.cpu_s for theirs, ours in pairs),
        "memory_share": max(run.peak_mib for run in own) / max(run.peak_mib for run in reference),
        **compare(reference[0].records, own[0].records, limits),
        **limits,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | points | arm | masks | s | CPU s | faster | faster, CPU time | MiB above the model "
        "| of the reference | mean IoU | missing | extra |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        (
            f"| {one['model']} | {one['points']} | {one['arm']} | {one['masks']} | {one['seconds']:.2f} "
            f"| {one['cpu_s']:.2f} | {one['faster']:.1f} | {one['faster_cpu']:.1f} | {one['peak_mib']:.0f} "
            f"| {one['memory_share']:.2f} | {one['mean_iou']:.4f} | {one['missing']} | {one['extra']} |"
        )
        for one in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["nano", "sam2.1_hiera_t"])
    parser.add_argument("--side", type=int, help="points along one side; default: 32 for nano, 16 for others")
    parser.add_argument("--sample", type=int, help="points along one side to choose thresholds by; default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--arms", nargs="+", default=["ours", "ours exact"], help="besides the reference")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    where = machine()
    rows: list[dict[str, Any]] = []
    for model in args.models:
        rows += measure(model, args)
        text = table(rows)
        write_results(text, {"rows": rows}, args, where)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
