"""Videos with exact truth for ``quality.py``, and what the tracker makes of them, frame by frame.

Generated scenes come with the package. Composed clips are made of the training's held-out material (``training/``), so
that settings can be chosen on objects that no model was trained on.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quality_arms import Picture, PromptKind, TrackerArm
from quality_metrics import BoolMask, expected_calibration_error, lies_on_another, ranking_quality, region_similarity

from streamseg.protocol.scores import presence_of, score_of
from streamseg.sources.scene.source import Scene
from streamseg.tracker.types import ObjectResult

SCENE_FPS = 15
_SCENE_SIZE = "640x360"
_CLIP_SEED = 77
_GOOD_IOU = 0.5

Shown = tuple[Picture, dict[int, BoolMask]]
"""A picture, and the true mask of each object by its id."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video with truth.

    Attributes:
        name: For the report.
        frames: Its pictures with their truth, in order.
    """

    name: str
    frames: Iterator[Shown]


@dataclass(frozen=True, slots=True)
class Observation:
    """One object on one frame after the prompted one.

    Attributes:
        prompt: How the object was marked.
        iou: With the truth; 1 if both masks are empty.
        in_sight: Whether the truth shows the object.
        found: Whether the tracker's mask has a pixel.
        elsewhere: Whether the mask lies mostly on another object.
        present: Whether the object score says that the object is visible.
        scores: Name -> value, 0..1: everything published that says how good the mask is.
    """

    prompt: PromptKind
    iou: float
    in_sight: bool
    found: bool
    elsewhere: bool
    present: bool
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class VideoScore:
    """Our tracker on one video with truth.

    Attributes:
        video: Its name.
        prompt: How the objects were marked on the first frame.
        objects: How many were tracked.
        frames: Number of frames.
        iou: Mean over objects and frames in which the object is visible.
        identity: Share of objects and frames whose mask lies mostly on another object.
        presence: Share of objects and frames whose object score is right about visibility.
        hidden: Share of objects and frames in which the object is hidden: the error of a constant answer.
        ms_a_frame: Time in the tracker for all objects, with pre- and postprocessing.
    """

    video: str
    prompt: PromptKind
    objects: int
    frames: int
    iou: float
    identity: float
    presence: float
    hidden: float
    ms_a_frame: float


@dataclass(frozen=True, slots=True)
class ScoreQuality:
    """How well one published score tells masks with an IoU above 0.5 from others.

    Attributes:
        score: Its name.
        prompt: How the objects were marked.
        masks: Number of masks that it was measured on.
        bad: How many of them have an IoU of at most 0.5.
        auroc: Probability that a good mask has a higher score than a bad one.
        calibration_error: Mean distance of the score and the share of good masks, over ten ranges of the score.
    """

    score: str
    prompt: PromptKind
    masks: int
    bad: int
    auroc: float
    calibration_error: float


def scene_video(address: str, seconds: float) -> Video:
    """Return a generated scene at 15 frames/s."""
    scene = Scene(f"{address}{'&' if '?' in address else '?'}fps={SCENE_FPS}&size={_SCENE_SIZE}")
    frames = round(seconds * SCENE_FPS)
    return Video(address, ((scene.render(n), scene.truth(n)) for n in range(frames)))


def composed_videos(folders: Mapping[str, Path | None], count: int, frames: int, side_px: int) -> Iterator[Video]:
    """Compose clips of held-out material: up to four objects each, every third clip fast.

    Args:
        folders: ``coco``, ``renders`` and ``more``, as ``python -m training.train`` takes them.
        count: How many.
        frames: Length of each.
        side_px: Side of the square pictures.
    """
    # The sam2 package installs a package `training` as well; the repository's has to be found first.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from training.clip import compose_clip
    from training.material import Folders, load_material

    material = load_material(Folders(**folders), held_out=True)
    for number in range(count):
        rng = np.random.default_rng([_CLIP_SEED, number])
        gap = 3.0 if number % 3 == 2 else 1.0
        clip = compose_clip(material, rng, frames=frames, side_px=side_px, max_objects=4, gap=gap)
        truths = [{obj_id: masks[n] for obj_id, masks in enumerate(clip.masks, 1)} for n in range(frames)]
        yield Video(f"composed {number}", iter(zip(clip.frames, truths, strict=True)))


def follow(video: Video, arm: TrackerArm, kind: PromptKind) -> tuple[VideoScore, list[Observation]]:
    """Track every object that the first frame of a video shows, prompted there."""
    picture, truth = next(video.frames)
    marked = {obj_id: mask for obj_id, mask in truth.items() if mask.any()}
    arm.start_objects(picture, marked, kind)
    observed: list[Observation] = []
    spent_s, frames = 0.0, 1
    for picture, truth in video.frames:
        started = time.perf_counter()
        results = arm.track_objects(picture)
        spent_s += time.perf_counter() - started
        frames += 1
        observed += [observe(result, truth, kind) for result in results]
    return _score(video.name, kind, len(marked), frames, spent_s, observed), observed


def observe(result: ObjectResult, truths: Mapping[int, BoolMask], kind: PromptKind) -> Observation:
    """Compare one object's result with the truth of all objects of the frame."""
    mask, truth = result.full_mask, truths[result.obj_id]
    scores = {"score": score_of(result.iou_prediction), "presence": presence_of(result.object_score_logits)}
    if result.confidence is not None:
        scores["confidence"] = score_of(result.confidence)
    return Observation(
        prompt=kind,
        iou=region_similarity(mask, truth),
        in_sight=bool(truth.any()),
        found=result.area > 0,
        elsewhere=lies_on_another(mask, truths, result.obj_id),
        present=result.object_score_logits > 0,
        scores=scores,
    )


def score_quality(observed: Sequence[Observation]) -> list[ScoreQuality]:
    """Measure each published score against the IoU, for each kind of prompt.

    A frame counts if the object is in sight or a mask was published: elsewhere there is no mask to be right or wrong.
    """
    rows = []
    counted = [one for one in observed if one.in_sight or one.found]
    for kind in dict.fromkeys(one.prompt for one in counted):
        chosen = [one for one in counted if one.prompt == kind]
        good = np.array([one.iou > _GOOD_IOU for one in chosen])
        for name in chosen[0].scores:
            values = np.array([one.scores[name] for one in chosen])
            figures = ranking_quality(values, good), expected_calibration_error(values, good)
            rows.append(ScoreQuality(name, kind, len(chosen), int((~good).sum()), *figures))
    return rows


def video_table(scores: Sequence[VideoScore]) -> str:
    """Return a Markdown table of videos."""
    head = ["video", "prompt", "objects", "frames", "IoU", "on another object", "presence right", "object hidden", "ms"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for s in scores:
        figures = (f"{value:.3f}" for value in (s.iou, s.identity, s.presence, s.hidden))
        rows.append(
            f"| {s.video} | {s.prompt} | {s.objects} | {s.frames} | {' | '.join(figures)} | {s.ms_a_frame:.1f} |"
        )
    return "\n".join(rows) + "\n"


def score_table(rows: Sequence[ScoreQuality]) -> str:
    """Return a Markdown table of published scores."""
    lines = ["| score | prompt | masks | IoU at most 0.5 | AUROC | calibration error |", "|" + "---|" * 6]
    lines += [
        f"| {row.score} | {row.prompt} | {row.masks} | {row.bad} | {row.auroc:.3f} | {row.calibration_error:.3f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _score(
    name: str, kind: PromptKind, objects: int, frames: int, spent_s: float, observed: Sequence[Observation]
) -> VideoScore:
    seen = [one.iou for one in observed if one.in_sight]
    return VideoScore(
        name,
        kind,
        objects,
        frames,
        iou=_mean(seen),
        identity=_mean([float(one.elsewhere) for one in observed]),
        presence=_mean([float(one.present == one.in_sight) for one in observed]),
        hidden=_mean([float(not one.in_sight) for one in observed]),
        ms_a_frame=1000 * spent_s / max(1, frames - 1),
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
