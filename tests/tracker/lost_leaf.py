"""The generated scene with its leaf painted over: an object that a tracker has lost."""

from __future__ import annotations

import functools
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.config.schema import ModelConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.models.registry import resolve
from streamseg.sources.scene.source import Scene
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import BoolMask, ObjectResult, Point, Prompt

KOI, PAD, LEAF = 1, 2, 3
OBJ = 5
SCENE = Scene("scene:default?size=480x270")
Picture = NDArray[np.uint8]
_build_once = functools.cache(build_model)  # trackers change no weights


def nano(image_size: int | None = None) -> Sam2Tracker:
    """Return a tracker with nano on the CPU."""
    config = ModelConfig(name="nano", device="cpu", dtype="float32", image_size=image_size)
    with mock.patch("streamseg.tracker.sam2_tracker.build_model", _build_once):
        return Sam2Tracker.from_config(resolve(config), config)


def without(number: int, obj_id: int) -> Picture:
    """Return a picture of the scene with one object painted over."""
    gone = cv2.dilate(SCENE.truth(number)[obj_id].astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.asarray(cv2.inpaint(SCENE.render(number), gone, 5, cv2.INPAINT_TELEA), dtype=np.uint8)


def marks(number: int, obj_id: int, kind: str) -> Prompt:
    truth = SCENE.truth(number)[obj_id]
    inner = cv2.erode(truth.astype(np.uint8), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(inner)
    x, y = SCENE.click_point(number, obj_id) or (0, 0)
    click, other = Point(x, y), Point(float(columns[0]), float(rows[0]))
    left, top, width, height = SCENE.truth_box(number, obj_id)
    box = (float(left), float(top), float(left + width), float(top + height))
    return {
        "click": Prompt(OBJ, points=(click,)),
        "clicks": Prompt(OBJ, points=(click, other)),
        "box": Prompt(OBJ, box=box),
        "box and click": Prompt(OBJ, box=box, points=(click,)),
        "mask": Prompt(OBJ, mask=truth),
    }[kind]


def iou(result: ObjectResult, truth: BoolMask) -> float:
    mask = result.full_mask
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


def frame(number: int, picture: Picture) -> Frame:
    height, width = picture.shape[:2]
    stamps = FrameStamps(1_700_000_000_000_000_000 + number, "file", 0, 0, number, (1, 30))
    return Frame(number, 0, FrameFormat(width, height, "rgb24"), (picture.reshape(height, -1),), stamps)


def gray() -> Picture:
    return np.full_like(SCENE.render(0), 90)
