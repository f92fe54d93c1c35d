"""Whether masks of the generated scene are on their own objects."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.client import MaskFrame
from streamseg.sources.scene.source import Scene

MIN_SHOWN_PX = 300
"""An object of which the picture shows less is not asked for."""


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the intersection over the union of two masks; 1 if both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def mean_iou(message: MaskFrame, scene: Scene) -> float:
    """Return the mean IoU of the objects that a frame shows."""
    masks = {obj.id: obj.mask for obj in message.objects}
    nothing = np.zeros((message.size[1], message.size[0]), np.bool_)
    truth: Mapping[int, NDArray[np.bool_]] = scene.truth(message.pts)
    shown = {obj_id: mask for obj_id, mask in truth.items() if mask.sum() > MIN_SHOWN_PX}
    return float(np.mean([iou(masks.get(obj_id, nothing), mask) for obj_id, mask in shown.items()]))


def on_another(message: MaskFrame, scene: Scene) -> dict[int, bool]:
    """Return for each object with a mask whether most of that lies on another object."""
    truth = scene.truth(message.pts)
    found = {}
    for obj in message.objects:
        if obj.area:
            on = max(truth, key=lambda obj_id: int((truth[obj_id] & obj.mask).sum()))
            found[obj.id] = on != obj.id and int((truth[on] & obj.mask).sum()) > obj.area / 2
    return found


def touching(scene: Scene, first: int, last: int) -> set[int]:
    """Return the objects that touch another one between two frames of a scene."""
    found: set[int] = set()
    for n in range(first, last + 1, 3):
        around = {obj_id: cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) for obj_id, mask in scene.truth(n).items()}
        for one, other in itertools.combinations(around, 2):
            if (around[one] & around[other]).any():
                found |= {one, other}
    return found


def boxes(scene: Scene, number: int) -> list[dict[str, object]]:
    """The box of each object that a picture shows, as prompts of the control channel."""
    found: list[dict[str, object]] = []
    for obj_id in scene.names:
        x, y, w, h = scene.truth_box(number, obj_id)
        if w:
            found.append({"object_id": obj_id, "box": (x, y, x + w, y + h), "coords": "pixels"})
    return found
