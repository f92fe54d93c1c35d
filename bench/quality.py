"""How good the masks are: J, F and J&F on a folder laid out as DAVIS; IoU and presence on generated scenes.

Streaming, one pass: a prompt on the first frame, which is not counted, then every frame once, in order. The prompt is
made from the first frame's annotation. All arms run in one run, sequence by sequence.

    python bench/quality.py --davis FOLDER                        # nano with mask, box and click; the alternatives
    python bench/quality.py --davis FOLDER --checkpoint nano.pt --config nano --json result.json --markdown result.md
    python bench/quality.py --scenes                              # IoU and presence on the generated scenes

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
from typing import Any

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

from streamseg.sources.scene.source import Scene

SCENES = (
    "scene:simple",
    "scene:default",
    "scene:crossing",
    "scene:leave",
    "scene:simple?objects=1",
    "scene:simple?objects=4",
)
SCENE_SECONDS = 12
SCENE_FPS = 15


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


@dataclass(frozen=True, slots=True)
class SceneScore:
    """Our tracker on one generated scene.

    Attributes:
        scene: Its address.
        objects: How many were tracked.
        frames: Number of frames.
        iou: Mean over objects and frames in which the object is visible.
        presence: Share of objects and frames whose object score is right about visibility.
        hidden: Share of objects and frames in which the object is hidden: the error of a constant answer.
        ms_a_frame: Time in the tracker for all objects, with pre- and postprocessing.
    """

    scene: str
    objects: int
    frames: int
    iou: float
    presence: float
    hidden: float
    ms_a_frame: float


def main() -> None:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages and Annotations")
    parser.add_argument("--sequences", nargs="*", help="only these")
    parser.add_argument("--scenes", action="store_true", help="run the generated scenes")
    parser.add_argument("--model", default="nano", help="model of the registry")
    parser.add_argument("--checkpoint", type=Path, help="own weights instead of the registry's")
    parser.add_argument("--config", help="config of --checkpoint")
    parser.add_argument("--dtype", default="float32", help="precision, as model.dtype; RESULTS.md's is the default")
    parser.add_argument("--image-size", type=int, help="side of the model's input, as model.image_size")
    parser.add_argument("--prompts", nargs="*", default=["mask", "box", "click"], choices=["mask", "box", "click"])
    parser.add_argument("--only-model", action="store_true", help="leave the alternatives out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    size = {} if options.image_size is None else {"image_size": options.image_size}
    model = tracker_arm(options.model, options.config, options.checkpoint, options.threads, dtype=options.dtype, **size)
    report: dict[str, Any] = {"machine": describe_machine(options.threads), "model": options.model}
    report |= {"dtype": options.dtype, "image_size": options.image_size}
    text = []
    if options.davis is not None:
        scores: list[SequenceScore] = []
        for name, kind, arm in _arms(options, model):
            for score in score_folder(options.davis, name, kind, arm, options.sequences):
                print(
                    f"{name:22} {kind:6} {score.sequence:16} J {100 * score.j:5.1f}  F {100 * score.f:5.1f}", flush=True
                )
                scores.append(score)
        report["davis"] = [asdict(score) for score in scores]
        text.append(davis_table(scores))
    if options.scenes:
        scenes = [score_scene(address, model) for address in SCENES]
        report["scenes"] = [asdict(score) for score in scenes]
        text.append(scene_table(scenes))
    text.append("; ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print("\n".join(text))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown is not None:
        options.markdown.write_text("\n".join(text) + "\n")


def _arms(options: argparse.Namespace, model: TrackerArm) -> Iterator[tuple[str, PromptKind, Arm]]:
    name = options.model if options.checkpoint is None else options.checkpoint.name
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
    folder: Path, name: str, kind: PromptKind, arm: Arm, sequences: list[str] | None = None
) -> Iterator[SequenceScore]:
    """Run one arm over the sequences of a DAVIS-style folder.

    Raises:
        FileNotFoundError: the folder holds no sequence, or an annotation is missing.
    """
    names = sequences or sorted(path.name for path in (folder / "JPEGImages").iterdir() if path.is_dir())
    for sequence in names:
        pictures = sorted((folder / "JPEGImages" / sequence).glob("*.jpg"))
        if not pictures:
            raise FileNotFoundError(f"{folder / 'JPEGImages' / sequence} holds no picture")
        truths = [folder / "Annotations" / sequence / f"{path.stem}.png" for path in pictures]
        yield _score_sequence(name, kind, arm, sequence, pictures, truths)


def _score_sequence(
    name: str, kind: PromptKind, arm: Arm, sequence: str, pictures: list[Path], truths: list[Path]
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
    return SequenceScore(
        name, kind, sequence, len(pictures), statistics.fmean(js), statistics.fmean(fs), 1000 * spent_s / len(js)
    )


def score_scene(address: str, model: TrackerArm) -> SceneScore:
    """Track every object of a scene that frame 0 shows, prompted with its mask there."""
    scene = Scene(f"{address}{'&' if '?' in address else '?'}fps={SCENE_FPS}&size=640x360")
    truths = {obj_id: mask for obj_id, mask in scene.truth(0).items() if mask.any()}
    model.start_objects(scene.render(0), truths, "mask")
    ious, right, hidden = [], [], []
    spent_s = 0.0
    frames = SCENE_SECONDS * SCENE_FPS
    for n in range(1, frames):
        truth, picture = scene.truth(n), scene.render(n)
        started = time.perf_counter()
        results = model.track_objects(picture)
        spent_s += time.perf_counter() - started
        for result in results:
            in_sight = bool(truth[result.obj_id].any())
            hidden.append(not in_sight)
            right.append((result.object_score_logits > 0) == in_sight)
            if in_sight:
                ious.append(region_similarity(result.full_mask, truth[result.obj_id]))
    means = (statistics.fmean(values) for values in (ious, right, hidden))
    return SceneScore(address, len(truths), frames, *means, 1000 * spent_s / (frames - 1))


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


def scene_table(scores: list[SceneScore]) -> str:
    """Return a Markdown table of the scenes."""
    rows = ["| scene | objects | frames | IoU | presence right | object hidden | ms per frame |", "|" + "---|" * 7]
    for s in scores:
        figures = (f"{value:.3f}" for value in (s.iou, s.presence, s.hidden))
        rows.append(f"| {s.scene} | {s.objects} | {s.frames} | {' | '.join(figures)} | {s.ms_a_frame:.1f} |")
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
