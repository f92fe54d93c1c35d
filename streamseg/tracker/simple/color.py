"""A color tracker, to test without a model that masks belong to their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import Frame, Plane
from streamseg.tracker.measure import count_pixels, object_result
from streamseg.tracker.rgb import sample_rgb
from streamseg.tracker.simple.network_free import NetworkFreeTracker
from streamseg.tracker.simple.prompt_mask import prompt_mask
from streamseg.tracker.types import BoolMask, Candidate, ObjectResult, Prompt

_WORKING_SIDE: Final = 640
"""Longest side of the searched picture; larger frames are sampled at every second, third... pixel."""

_TOLERANCE: Final = np.array([40.0, 14.0, 14.0])
"""Minimum tolerance around the mean Y, Cr, Cb of the object: light changes more than hue."""

_MIN_SHARE: Final = 0.1
"""Minimum share of its usual area for a region to be recognized as the object."""


_STRONG: Final = 24
"""Minimum distance of Cr and Cb from gray for a pixel of an object found without a prompt."""

_CERTAIN: Final = 10.0
"""Logit of a pixel of a found object."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """A coarse frame: ``uint8 [h, w, 3]`` Y, Cr, Cb; each pixel represents ``step x step``."""

    pixels: Plane
    step: int


@dataclass(slots=True)
class _Target:
    """An object: its appearance and its last position.

    Attributes:
        low: Minimum Y, Cr, Cb of its color.
        high: Maximum.
        seed: ``bool [h, w]`` of the coarse picture: the prompted region; None after the object was found.
        position: Its last centroid as shares of the frame.
        area: Its usual area as a share of the frame.
        latest: The last searched frame, and the result.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seed: BoolMask | None
    position: tuple[float, float] = (0.5, 0.5)
    area: float = 0.0
    latest: tuple[_Picture, ObjectResult] | None = None


class ColorTracker(NetworkFreeTracker[_Picture, _Target]):
    """Follows a connected region of the prompt's color near its last position.

    For tests and benchmarks of the pipeline. Everything of a similar color that touches the object counts as part of
    it, so it works best with plainly colored objects. When the color is not visible, the mask is empty and
    ``object_score_logits`` negative. The object is found again where a region of that color and of at least a tenth of
    its usual area appears. ``iou_prediction`` is the region's share of that area, at most 1.

    A prompt on an existing object replaces its color. Negative points are ignored.
    """

    def _look(self, frame: Frame) -> _Picture:
        step = -(-max(frame.format.width, frame.format.height) // _WORKING_SIDE)
        picture = cv2.cvtColor(sample_rgb(frame, step), cv2.COLOR_RGB2YCrCb)
        return _Picture(np.asarray(picture, dtype=np.uint8), step)

    def _prompted(self, view: _Picture, prompt: Prompt, size: tuple[int, int], present: _Target | None) -> _Target:
        certain = _certain_part(prompt, size)
        if certain is None:
            assert present is not None  # a new object with negative points only was refused
            return present
        rows, columns = np.nonzero(prompt_mask(certain, size))
        seed = np.zeros(view.pixels.shape[:2], dtype=np.bool_)
        seed[rows // view.step, columns // view.step] = True
        pixels = view.pixels[seed].astype(np.float64)
        reach = np.clip(3 * pixels.std(axis=0), _TOLERANCE, 2 * _TOLERANCE)
        middle = np.median(pixels, axis=0)
        return _Target(middle - reach, middle + reach, seed)

    def _locate(self, target: _Target, view: _Picture, size: tuple[int, int], obj_id: int) -> ObjectResult:
        if target.latest is None or target.latest[0] is not view:
            target.latest = (view, _find(target, view, size, obj_id))
        return target.latest[1]

    def _candidates(self, view: _Picture, points: Sequence[tuple[float, float]]) -> list[Candidate]:
        """Return the regions of strong colors that contain one of the points."""
        h, w = view.pixels.shape[:2]
        taken = np.hypot(*(view.pixels[..., channel].astype(np.float32) - 128 for channel in (1, 2))) < _STRONG
        found = []
        for x, y in points:
            column, row = min(int(x * w), w - 1), min(int(y * h), h - 1)
            if taken[row, column]:
                continue
            seed = np.zeros((h, w), dtype=np.bool_)
            seed[row, column] = True
            color = view.pixels[row, column].astype(np.float64)
            result = _find(_Target(color - _TOLERANCE, color + _TOLERANCE, seed), _Picture(view.pixels, 1), (w, h), 1)
            mask = result.full_mask
            taken |= mask
            if mask[row, column]:
                found.append(Candidate(np.where(mask, _CERTAIN, -_CERTAIN).astype(np.float32), 1.0))
        return found

    def _export(self, target: _Target) -> dict[str, NDArray[Any]]:
        place = np.array([*target.position, target.area])
        seed = np.zeros((0, 0), np.bool_) if target.seed is None else target.seed
        return {"low": target.low, "high": target.high, "place": place, "seed": seed}

    def _import(self, arrays: Mapping[str, NDArray[Any]]) -> _Target:
        x, y, area = arrays["place"].tolist()
        seed = np.asarray(arrays["seed"], dtype=np.bool_)
        return _Target(arrays["low"], arrays["high"], seed if seed.size else None, (x, y), area)


def _find(target: _Target, view: _Picture, size: tuple[int, int], obj_id: int) -> ObjectResult:
    close = cv2.inRange(view.pixels, target.low, target.high)
    close = cv2.morphologyEx(close, cv2.MORPH_CLOSE, np.ones((3, 3), dtype=np.uint8))
    h, w = view.pixels.shape[:2]
    labels, stats, centroids = _regions(np.asarray(close, dtype=np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA] / (h * w)
    places = (centroids[1:] + 0.5) / (w, h)
    if target.seed is not None:
        seed_h, seed_w = target.seed.shape  # of the prompted frame: the size may have changed since
        y_seed, x_seed = np.nonzero(target.seed)
        touched = labels[y_seed * h // seed_h, x_seed * w // seed_w]
        worth = np.bincount(touched, minlength=len(stats))[1:].astype(np.float64)
        worth[worth == 0] = -np.inf
    else:
        distance = np.hypot(*(places - target.position).T)
        worth = np.where(areas >= _MIN_SHARE * target.area, np.minimum(areas / target.area, 1.0) - distance, -np.inf)
    if worth.size == 0 or worth.max() == -np.inf:
        return object_result(
            obj_id, size, count_pixels(np.zeros((0, 0), dtype=np.bool_)), iou_prediction=0.0, object_score_logits=-10.0
        )
    best = int(worth.argmax())
    target.area = float(areas[best]) if target.seed is not None else 0.9 * target.area + 0.1 * float(areas[best])
    target.seed = None
    target.position = (float(places[best, 0]), float(places[best, 1]))
    x, y, columns, rows = (int(value) for value in stats[best + 1, : cv2.CC_STAT_AREA])
    mask = (labels[y : y + rows, x : x + columns] == best + 1).repeat(view.step, axis=0).repeat(view.step, axis=1)
    left, top = x * view.step, y * view.step
    return object_result(
        obj_id,
        size,
        count_pixels(np.ascontiguousarray(mask[: size[1] - top, : size[0] - left]), (left, top)),
        iou_prediction=min(float(areas[best]) / target.area, 1.0),
        object_score_logits=10.0,
    )


def _regions(close: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Run ``cv2.connectedComponentsWithStats`` inside the bounding box of the set pixels, a small part of a frame."""
    labels = np.zeros(close.shape, dtype=np.intp)
    x, y, columns, rows = cv2.boundingRect(close)
    if rows == 0:
        return labels, np.zeros((1, 5), dtype=np.intp), np.zeros((1, 2))
    part = cv2.connectedComponentsWithStats(close[y : y + rows, x : x + columns], connectivity=4)
    labels[y : y + rows, x : x + columns] = part[1]
    return labels, np.add(part[2], (x, y, 0, 0, 0), dtype=np.intp), np.add(part[3], (x, y), dtype=np.float64)


def _certain_part(prompt: Prompt, size: tuple[int, int]) -> Prompt | None:
    """Return the part of a prompt that is surely on the object; None if there is none.

    That is the mask, the positive points, or the middle of the box.
    """
    points = tuple(point for point in prompt.points if point.label == 1)
    if prompt.mask is not None:
        return prompt
    if prompt.box is None:
        return replace(prompt, points=points) if points else None
    x0, x1 = max(prompt.box[0], 0.0), min(prompt.box[2], size[0])
    y0, y1 = max(prompt.box[1], 0.0), min(prompt.box[3], size[1])
    dx, dy = (x1 - x0) / 4, (y1 - y0) / 4
    return replace(prompt, points=points, box=(x0 + dx, y0 + dy, x1 - dx, y1 - dy))
