"""Accuracy of the masks, and calibration of their scores.

J, F and J&F on a folder laid out as DAVIS; IoU, identity (masks that lie mostly on another object) and presence on
generated scenes and on clips composed of held-out material; AUROC and calibration error of each published score over
everything that was run, for each kind of prompt.

Streaming, one pass: a prompt on the first frame, which is not counted, then every frame once, in order. The prompt is
made from the first frame's annotation. All arms run in one run, sequence by sequence.

    python bench/quality.py --davis FOLDER                        # nano with mask, box and click; the alternatives
    python bench/quality.py --davis FOLDER --weights nano.pt --json result.json --markdown result.md
    python bench/quality.py --scenes                              # 60 s of each generated scene
    python bench/quality.py --scenes default crossing --seeds 501 502 --seconds 20 --scene-prompts mask click
    python bench/quality.py --composed 24 --coco FOLDER --renders FOLDER --more FOLDER
    python bench/quality.py --davis FOLDER --prompts click --scenes --scene-prompts click --only-model   # the scores

The folder holds ``JPEGImages/SEQUENCE/*.jpg`` and ``Annotations/SEQUENCE/*.png``. Each value above 0 in an annotation
is an object, which is tracked by itself; J and F are means over the objects.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import torch
from hardware import processor
from PIL import Image
from quality_arms import (
    Arm,
    BoxTrackerArm,
    CopyArm,
    FlowArm,
    Picture,
    PromptKind,
    TrackerArm,
    tracker_arm,
    untrained_arm,
)
from quality_metrics import boundary_accuracy, region_similarity
from quality_videos import (
    Observation,
    Video,
    composed_videos,
    follow,
    observe,
    scene_video,
    score_quality,
    score_table,
    video_table,
)

from streamseg.models.registry import find
from streamseg.models.tuning import MaskEdges
from streamseg.tracker.sam2.memory_policy import POLICY_NAMES

SCENES = ("simple", "default", "crossing", "leave", "simple?objects=1", "simple?objects=4")
KINDS: tuple[PromptKind, ...] = ("mask", "box", "click")


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """One arm on one sequence: means over its objects and all frames except the first."""

    arm: str
    prompt: PromptKind
    sequence: str
    frames: int
    j: float
    f: float
    ms_a_frame: float


def main() -> None:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages and Annotations")
    parser.add_argument("--sequences", nargs="*", help="only these")
    parser.add_argument("--scenes", nargs="*", metavar="NAME", help="run generated scenes: these, or all")
    parser.add_argument("--seconds", type=float, default=60, help="length of each scene")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[0], help="seeds of the scenes; 500 to 999 are held out"
    )
    parser.add_argument("--composed", type=int, default=0, metavar="N", help="run N clips of held-out material")
    parser.add_argument("--composed-frames", type=int, default=60, help="length of each")
    parser.add_argument("--coco", type=Path, help="material, as for python -m training.train")
    parser.add_argument("--renders", type=Path, help="likewise")
    parser.add_argument("--more", type=Path, help="likewise")
    parser.add_argument("--scene-prompts", nargs="*", default=["mask"], choices=KINDS, help="of scenes and clips")
    parser.add_argument("--model", default="nano", help="model of the registry")
    parser.add_argument("--weights", "--checkpoint", type=Path, help="own weights instead of the registry's")
    parser.add_argument("--config", help="config of --weights; default: that of --model")
    parser.add_argument("--dtype", default="float32", help="precision, as model.dtype; RESULTS.md's is the default")
    parser.add_argument("--policy", choices=POLICY_NAMES, help="as model.memory; default: the model's")
    parser.add_argument("--edges", choices=get_args(MaskEdges), help="as model.mask_edges; default: the model's")
    parser.add_argument("--image-size", type=int, help="side of the model's input, as model.image_size")
    parser.add_argument("--prompts", nargs="*", default=[*KINDS], choices=KINDS, help="of the DAVIS folder")
    parser.add_argument("--only-model", action="store_true", help="leave the alternatives out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    model = tracker_arm(options.model, _config(options), options.weights, options.threads, **_settings(options))
    report: dict[str, Any] = {"machine": describe_machine(options.threads), "model": options.model}
    report |= _settings(options)
    text, observed = [], []
    if options.davis is not None:
        scores: list[SequenceScore] = []
        for name, kind, arm in _arms(options, model):
            for score in score_folder(options.davis, name, kind, arm, options.sequences, observed):
                print(
                    f"{name:22} {kind:6} {score.sequence:16} J {100 * score.j:5.1f}  F {100 * score.f:5.1f}", flush=True
                )
                scores.append(score)
        report["davis"] = [asdict(score) for score in scores]
        text.append(davis_table(scores))
    followed = []
    for kind in options.scene_prompts:
        for video in _videos(options):
            score, seen = follow(video, model, kind)
            print(f"{score.video:24} {kind:6} IoU {score.iou:.3f}  on another {score.identity:.3f}", flush=True)
            followed.append(score)
            observed += seen
    if followed:
        report["videos"] = [asdict(score) for score in followed]
        text.append(video_table(followed))
    if observed:
        scored = score_quality(observed)
        report["scores"] = [asdict(row) for row in scored]
        text.append(score_table(scored))
    text.append("; ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print("\n".join(text))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown is not None:
        options.markdown.write_text("\n".join(text) + "\n")


def _config(options: argparse.Namespace) -> str | None:
    return options.config or find(options.model).config if options.weights is not None else None


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "dtype": options.dtype,
        "image_size": options.image_size,
        "memory": options.policy,
        "mask_edges": options.edges,
    }
    return {name: value for name, value in given.items() if value is not None}


def _videos(options: argparse.Namespace) -> Iterator[Video]:
    if options.scenes is not None:
        for seed in options.seeds:
            for name in options.scenes or SCENES:
                seeded = f"{name}{'&' if '?' in name else '?'}seed={seed}" if seed else name
                yield scene_video(f"scene:{seeded}", options.seconds)
    if options.composed:
        folders = {"coco": options.coco, "renders": options.renders, "more": options.more}
        yield from composed_videos(folders, options.composed, options.composed_frames, options.image_size or 256)


def _arms(options: argparse.Namespace, model: TrackerArm) -> Iterator[tuple[str, PromptKind, Arm]]:
    name = options.model if options.weights is None else options.weights.name
    for kind in options.prompts:
        yield name, kind, model
    if options.only_model:
        return
    yield "untrained nano", "mask", untrained_arm("nano")
    makers: tuple[tuple[str, Callable[[], Arm]], ...] = (
        ("first mask copied", CopyArm),
        ("DIS optical flow", FlowArm),
        ("MIL tracker's box", BoxTrackerArm),
    )
    for name, make in makers:
        yield name, "mask", make()


def score_folder(
    folder: Path,
    name: str,
    kind: PromptKind,
    arm: Arm,
    sequences: list[str] | None = None,
    observed: list[Observation] | None = None,
) -> Iterator[SequenceScore]:
    """Run one arm over the sequences of a DAVIS-style folder.

    Args:
        folder: The folder.
        name: Of the arm.
        kind: Of the prompts.
        arm: What to run.
        sequences: Only these.
        observed: Gets what our tracker said about each mask.

    Raises:
        FileNotFoundError: the folder holds no sequence, or an annotation is missing.
    """
    names = sequences or sorted(path.name for path in (folder / "JPEGImages").iterdir() if path.is_dir())
    for sequence in names:
        pictures = sorted((folder / "JPEGImages" / sequence).glob("*.jpg"))
        if not pictures:
            raise FileNotFoundError(f"{folder / 'JPEGImages' / sequence} holds no picture")
        truths = [folder / "Annotations" / sequence / f"{path.stem}.png" for path in pictures]
        yield _score_sequence(name, kind, arm, sequence, pictures, truths, [] if observed is None else observed)


def _score_sequence(
    name: str,
    kind: PromptKind,
    arm: Arm,
    sequence: str,
    pictures: list[Path],
    truths: list[Path],
    observed: list[Observation],
) -> SequenceScore:
    js, fs, spent_s = [], [], 0.0
    for value in np.unique(read_annotation(truths[0])):
        if value == 0:
            continue
        arm.start(read_picture(pictures[0]), read_annotation(truths[0]) == value, kind)
        for picture_path, truth_path in zip(pictures[1:], truths[1:], strict=True):
            picture = read_picture(picture_path)
            started = time.perf_counter()
            predicted = arm.track(picture)
            spent_s += time.perf_counter() - started
            truth = read_annotation(truth_path) == value
            js.append(region_similarity(predicted, truth))
            fs.append(boundary_accuracy(predicted, truth))
            if isinstance(arm, TrackerArm):
                observed += [observe(result, {result.obj_id: truth}, kind) for result in arm.newest]
    return SequenceScore(
        name, kind, sequence, len(pictures), statistics.fmean(js), statistics.fmean(fs), 1000 * spent_s / len(js)
    )


def read_picture(path: Path) -> Picture:
    """Return ``uint8 [H, W, 3]`` RGB."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise FileNotFoundError(f"{path} is missing or no picture")
    return np.ascontiguousarray(bgr[..., ::-1])


def read_annotation(path: Path) -> Picture:
    """Return ``uint8 [H, W]``: 0, or the number of the object.

    Read with Pillow, which sam2 needs anyway: OpenCV would turn palette indices into colors.
    """
    with Image.open(path) as image:
        return np.asarray(image if image.mode in ("P", "L") else image.convert("1")).astype(np.uint8)


def davis_table(scores: list[SequenceScore]) -> str:
    """Return a Markdown table: a row for each arm and prompt, a J column for each sequence."""
    sequences = list(dict.fromkeys(score.sequence for score in scores))
    rows = ["| arm | prompt | J&F | J | F | " + " | ".join(f"J {name}" for name in sequences) + " |"]
    rows.append("|" + "---|" * (5 + len(sequences)))
    for arm, prompt in dict.fromkeys((score.arm, score.prompt) for score in scores):
        of_arm = {score.sequence: score for score in scores if (score.arm, score.prompt) == (arm, prompt)}
        j = statistics.fmean(score.j for score in of_arm.values())
        f = statistics.fmean(score.f for score in of_arm.values())
        cells = [f"{100 * value:.1f}" for value in ((j + f) / 2, j, f, *(of_arm[name].j for name in sequences))]
        rows.append(f"| {arm} | {prompt} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def describe_machine(threads: int) -> dict[str, str]:
    """Describe the machine."""
    return {
        "processor": processor(),
        "threads": str(threads),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
