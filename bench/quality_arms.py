"""The arms of ``quality.py``: our tracker and the cheap alternatives that it is compared with, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from streamseg.config.schema import ModelConfig
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.models.registry import resolve
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import ObjectResult, Point, Prompt

BoolMask = NDArray[np.bool_]
Picture = NDArray[np.uint8]
PromptKind = Literal["mask", "box", "click"]

_STREAM = "quality"


class Arm(Protocol):
    """A way to track one object through a video."""

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        """Take the first frame, ``uint8 [H, W, 3]`` RGB, and the prompt made from its truth."""
        ...

    def track(self, picture: Picture) -> BoolMask:
        """Return the object's mask on the next frame."""
        ...


class TrackerArm:
    """Our tracker, through its public interface. Tracks any number of objects.

    Args:
        tracker: Reset at each start.

    Attributes:
        newest: All objects on the last frame.
    """

    def __init__(self, tracker: Sam2Tracker) -> None:
        self._tracker = tracker
        self._frame_id = 0
        self.newest: list[ObjectResult] = []

    def warm_up(self) -> None:
        """Wait until an engine that converts or compiles the model has done so."""
        self._tracker.warm_up(lambda _what, _share: None)

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        """See :class:`Arm`."""
        self.start_objects(picture, {1: truth}, kind)

    def start_objects(self, picture: Picture, truths: dict[int, BoolMask], kind: PromptKind) -> None:
        """Take the first frame and prompt several objects on it."""
        self._tracker.close_stream(_STREAM)
        self._tracker.open_stream(_STREAM)
        self._frame_id = 0
        self.track_objects(picture)
        for obj_id, truth in truths.items():
            self._tracker.add_prompt(_STREAM, make_prompt(obj_id, truth, kind))

    def track(self, picture: Picture) -> BoolMask:
        """See :class:`Arm`."""
        return self.track_objects(picture)[0].full_mask

    def track_objects(self, picture: Picture) -> list[ObjectResult]:
        """Return all objects on the next frame."""
        frame = as_frame(self._frame_id, picture)
        self._frame_id += 1
        self.newest = self._tracker.track({_STREAM: frame})[_STREAM]
        return self.newest


class CopyArm:
    """The first mask, on every frame."""

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        """See :class:`Arm`."""
        self._mask = as_mask(truth, kind)

    def track(self, picture: Picture) -> BoolMask:
        """See :class:`Arm`."""
        return self._mask


class FlowArm:
    """The last mask, moved along OpenCV's DIS optical flow (Kroeger et al. 2016)."""

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        """See :class:`Arm`."""
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        self._mask = as_mask(truth, kind).astype(np.float32)
        height, width = truth.shape
        self._columns, self._rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def track(self, picture: Picture) -> BoolMask:
        """See :class:`Arm`."""
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        backward = self._flow.calc(gray, self._gray, None)
        columns, rows = self._columns + backward[..., 0], self._rows + backward[..., 1]
        self._mask = cv2.remap(self._mask, columns, rows, cv2.INTER_LINEAR)
        self._gray = gray
        return np.asarray(self._mask > 0.5)


class BoxTrackerArm:
    """The filled box of OpenCV's MIL tracker (Babenko et al. 2009), which needs no model file."""

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        """See :class:`Arm`."""
        cv2.setRNGSeed(0)
        self._tracker = cv2.TrackerMIL_create()
        x0, y0, x1, y1 = bounding_box(truth)
        self._box = (x0, y0, x1 - x0, y1 - y0)
        self._tracker.init(picture[..., ::-1].copy(), self._box)

    def track(self, picture: Picture) -> BoolMask:
        """See :class:`Arm`."""
        found, box = self._tracker.update(picture[..., ::-1].copy())
        self._box = tuple(box) if found else self._box
        x, y, width, height = self._box
        mask = np.zeros(picture.shape[:2], np.bool_)
        mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
        return mask


def tracker_arm(
    model: str, config: str | None = None, checkpoint: Path | None = None, threads: int = 2, **settings: Any
) -> TrackerArm:
    """Return our tracker with a model of the registry, or with an own checkpoint and its config.

    Args:
        model: Name in the registry.
        config: Config of the checkpoint.
        checkpoint: Used instead of the registry's.
        threads: CPU threads of torch.
        settings: Other fields of ``ModelConfig``.
    """
    torch.set_num_threads(threads)
    name = str(checkpoint.absolute()) if checkpoint is not None else model
    model_config = ModelConfig(name=name, config=config, device="cpu", threads=threads, **settings)
    return TrackerArm(Sam2Tracker.from_config(resolve(model_config), model_config))


def untrained_arm(config: str) -> TrackerArm:
    """Return our tracker with the random weights of seed 0."""
    model = build_model(config, seed=0)
    preprocess = Preprocessor(model.image_size, torch.device("cpu"), torch.float32)
    return TrackerArm(Sam2Tracker(CameraPredictor(model, max_objects=16), preprocess))


def make_prompt(obj_id: int, truth: BoolMask, kind: PromptKind) -> Prompt:
    """Return the prompt that a careful user would give: the mask, its bounding box, or a click deepest inside it."""
    if kind == "mask":
        return Prompt(obj_id=obj_id, mask=truth)
    if kind == "box":
        x0, y0, x1, y1 = (float(edge) for edge in bounding_box(truth))
        return Prompt(obj_id=obj_id, box=(x0, y0, x1, y1))
    bordered = cv2.copyMakeBorder(truth.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(bordered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Prompt(obj_id=obj_id, points=(Point(float(column), float(row)),))


def as_mask(truth: BoolMask, kind: PromptKind) -> BoolMask:
    """Return the prompt as a mask, for methods that take only masks: the mask itself, or the filled box."""
    if kind == "mask":
        return truth
    x0, y0, x1, y1 = bounding_box(truth)
    filled = np.zeros_like(truth)
    filled[y0:y1, x0:x1] = True
    return filled


def bounding_box(mask: BoolMask) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 in pixels, the far edges exclusive."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def as_frame(frame_id: int, picture: Picture) -> Frame:
    """Return a picture as the tracker gets it from a camera."""
    height, width = picture.shape[:2]
    plane = np.ascontiguousarray(picture).reshape(height, 3 * width)
    stamps = FrameStamps(0, "file", 0, 0, frame_id, (1, 30))
    return Frame(frame_id, 0, FrameFormat(width, height, "rgb24"), (plane,), stamps)
