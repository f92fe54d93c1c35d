"""Tracks the outlined objects of real clips, and computes scores with their uncertainty."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from streamseg.config.schema import ModelConfig
from streamseg.errors import PromptError
from streamseg.models.registry import resolve
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import ObjectResult, Point, Prompt
from training.marked_frames import as_frame, deepest_point
from training.real_clips import BoolMask, RealClip, RealObject

PromptKind = Literal["mask", "box", "click"]
KINDS: tuple[PromptKind, ...] = ("mask", "box", "click")

log = logging.getLogger(__name__)

_STREAM = "real"
_RESAMPLES = 10_000
_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True, slots=True)
class RealQuality:
    """Tracking quality of one object after one prompt.

    Attributes:
        name: Clip and object.
        first_iou: IoU in the prompted frame.
        iou: Mean IoU over the later outlined frames that show the object.
        presence: Share of the later outlined frames whose object score is right about its visibility.
    """

    name: str
    first_iou: float
    iou: float
    presence: float


@dataclass(frozen=True, slots=True)
class ShownMask:
    """A mask of a later outlined frame, which a user would have seen.

    Attributes:
        iou: With the outline; 0 if the object is out of the picture.
        confidence: As published, 0..1.
    """

    iou: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over objects, and its 95 % interval by bootstrap over objects (Efron 1979)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Mean:
        """Return the mean of the values; the resamples are the same in each run."""
        sample = np.array(values)
        chosen = np.random.default_rng(0).integers(0, len(sample), (_RESAMPLES, len(sample)))
        low, high = np.percentile(sample[chosen].mean(1), (_LOW, _HIGH))
        return cls(float(sample.mean()), float(low), float(high))


def load_tracker(weights: Path, config: str, threads: int, image_size: int | None = None) -> Sam2Tracker:
    """Return the tracker with weights exported by the trainer, in float32 on the CPU.

    Args:
        weights: File of weights.
        config: Model config, a name or a YAML file.
        threads: CPU threads of torch.
        image_size: Side of the model's input; None: the config's.
    """
    size = {} if image_size is None else {"image_size": image_size}
    model = ModelConfig(
        name=str(weights.absolute()), config=config, device="cpu", dtype="float32", threads=threads, **size
    )
    return Sam2Tracker.from_config(resolve(model), model)


def follow(tracker: Sam2Tracker, clip: RealClip, kind: PromptKind) -> Iterator[RealQuality]:
    """Prompt each object of a clip in its first outlined frame, track it to its last one, and yield its quality.

    Objects prompted in the same frame share a pass; they do not influence each other.
    """
    for item, seen in _tracked(tracker, clip, kind):
        yield _judge(f"{clip.path.stem}: {item.name}", item, seen)


def shown_masks(tracker: Sam2Tracker, clip: RealClip, kind: PromptKind) -> Iterator[ShownMask]:
    """Track a clip's objects as :func:`follow` does, and yield their masks on the later outlined frames."""
    for item, seen in _tracked(tracker, clip, kind):
        for number, result in seen.items():
            if number != item.first and result.area and result.confidence is not None:
                yield ShownMask(_iou(result.full_mask, item.truth[number]), result.confidence)


def prompt_for(obj_id: int, truth: BoolMask, kind: PromptKind) -> Prompt:
    """Return the prompt of a careful user: the mask, its bounding box, or a click deepest inside it."""
    if kind == "mask":
        return Prompt(obj_id=obj_id, mask=truth)
    if kind == "box":
        x, y, width, height = (float(edge) for edge in cv2.boundingRect(truth.astype(np.uint8)))
        return Prompt(obj_id=obj_id, box=(x, y, x + width, y + height))
    x, y = deepest_point(truth)
    return Prompt(obj_id=obj_id, points=(Point(float(x), float(y)),))


_Seen = dict[int, ObjectResult]


def _tracked(tracker: Sam2Tracker, clip: RealClip, kind: PromptKind) -> Iterator[tuple[RealObject, _Seen]]:
    """Yield each object of a clip with the tracker's results on its outlined frames."""
    together: dict[int, list[RealObject]] = defaultdict(list)
    for item in clip.objects:
        together[item.first].append(item)
    for first, objects in together.items():
        yield from zip(objects, _track(tracker, clip, first, objects, kind), strict=True)


def _track(
    tracker: Sam2Tracker, clip: RealClip, first: int, objects: list[RealObject], kind: PromptKind
) -> list[_Seen]:
    """Return for each object: outlined frame -> the tracker's result; empty if the prompt is refused."""
    seen: list[_Seen] = [{} for _ in objects]
    tracker.close_stream(_STREAM)
    tracker.open_stream(_STREAM)
    for number, picture in enumerate(clip.frames(first, max(item.last for item in objects)), first):
        results = tracker.track({_STREAM: as_frame(number, picture)})[_STREAM]
        if number == first:
            for index, item in enumerate(objects):
                prompt = prompt_for(index + 1, item.truth[first], kind)
                try:
                    seen[index][first] = tracker.add_prompt(_STREAM, prompt).prompted
                except PromptError as error:
                    log.warning("%s: %s, %s: refused, counts as 0: %s", clip.path.name, item.name, kind, error)
        for result in results:
            index = result.obj_id - 1
            if number in objects[index].truth:
                seen[index][number] = result
    return seen


def _judge(name: str, item: RealObject, seen: _Seen) -> RealQuality:
    """Compare results with the outlines. An object whose prompt is refused scores 0 everywhere."""
    if item.first not in seen:
        return RealQuality(name, 0.0, 0.0, 0.0)
    later = [number for number in item.truth if number != item.first]
    right = [(seen[number].object_score_logits > 0) == bool(item.truth[number].any()) for number in later]
    shown = [number for number in later if item.truth[number].any()]
    return RealQuality(
        name,
        first_iou=_iou(seen[item.first].full_mask, item.truth[item.first]),
        iou=float(np.mean([_iou(seen[number].full_mask, item.truth[number]) for number in shown])),
        presence=float(np.mean(right)),
    )


def _iou(mask: BoolMask, truth: BoolMask) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())
