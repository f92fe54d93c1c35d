"""The type ``onnx``: a detector of the YOLO family as an ONNX file, run by OpenCV on the CPU.

It reads the three layouts that exporters write, per detection:

- x, y, w, h, class scores: YOLOv8, v9, v11, v12 and their segmentation models (whose masks are not used)
- x, y, w, h, box score, class scores: YOLOv5, v6, v7
- x0, y0, x1, y1, score, class number, without duplicates: YOLOv10, v26, and exports with NMS
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.config.prompter_settings import OnnxSettings
from streamseg.errors import ConfigError
from streamseg.prompters.onnx_metadata import read_metadata
from streamseg.prompters.proposal import Picture, Proposal, Tracked

_IMAGE_SIZE: Final = 640
_GRAY: Final = (114, 114, 114)
_MASK_COEFFICIENTS: Final = 32
_MAX_FINAL: Final = 1000
"""Maximum number of detections of a model that removes duplicates itself."""

Floats = NDArray[np.float32]
Layout = Literal["classes", "box_and_classes", "final"]


def create(settings: Mapping[str, Any]) -> YoloPrompter:
    """Return the prompter.

    Raises:
        ConfigError: OpenCV cannot run the file, or its output has none of the layouts above.
    """
    given = msgspec.convert(settings, OnnxSettings)
    path = Path(given.model)
    try:
        metadata = read_metadata(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"settings.model: {path.name} is not an ONNX file: {error}") from None
    named = _names(metadata.get("names", ""))
    classes = given.classes or named
    if named and len(classes) != len(named):
        raise ConfigError(
            f"settings.classes: has {len(classes)} names, but {path.name} has {len(named)} classes: write all, in "
            "their order, or leave it out"
        )
    if not classes:
        raise ConfigError("settings.classes: is missing: the file does not name its classes: write them in their order")
    if unknown := [name for name in given.only if name not in classes]:
        raise ConfigError(f"settings.only: {unknown[0]!r} is no class: write one of {', '.join(classes[:20])}")
    return YoloPrompter(given, classes, given.image_size or _size(metadata.get("imgsz", "")))


class YoloPrompter:
    """Proposes the boxes of a detector.

    Args:
        settings: The settings.
        classes: Names of the classes.
        image_size: Side of the model's square input.

    Raises:
        ConfigError: the model cannot be run, or its output has an unknown layout.
    """

    def __init__(self, settings: OnnxSettings, classes: Sequence[str], image_size: int) -> None:
        self._settings = settings
        self._classes = classes
        self._size = image_size
        name = Path(settings.model).name
        try:
            self._net = cv2.dnn.readNetFromONNX(settings.model)
            output = self._run(np.zeros((image_size, image_size, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(
                f"settings.model: OpenCV {cv2.__version__} cannot run {name} on {image_size}x{image_size} pixels "
                f"(settings.image_size): {error.err}"
            ) from None
        layout = _layout(output.shape, len(classes), image_size)
        if layout is None:
            shape = " x ".join(map(str, output.shape))
            raise ConfigError(
                f"settings.classes: {len(classes)} classes do not fit the output of {name}, which is {shape}: write "
                "all classes of the model, in their order"
            )
        self._layout: Layout = layout

    def prompts(self, picture: Picture, tracked: Sequence[Tracked]) -> list[Proposal]:
        """Return the detections on a picture."""
        del tracked
        scale = self._size / max(picture.shape[:2])
        width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        square = cv2.copyMakeBorder(
            small, 0, self._size - height, 0, self._size - width, cv2.BORDER_CONSTANT, value=_GRAY
        )
        boxes, scores, numbers = _read(self._run(np.asarray(square, np.uint8)), self._layout, len(self._classes))
        wanted = scores >= self._settings.score
        if self._settings.only:
            wanted &= np.isin(numbers, [self._classes.index(name) for name in self._settings.only])
        boxes, scores, numbers = boxes[wanted], scores[wanted], numbers[wanted]
        if self._layout != "final" and len(boxes):
            corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            kept = cv2.dnn.NMSBoxesBatched(
                corner_and_size.tolist(), scores.tolist(), numbers.tolist(), 0.0, self._settings.overlap
            )
            places = np.asarray(kept, np.intp).reshape(-1)
            boxes, scores, numbers = boxes[places], scores[places], numbers[places]
        return [
            Proposal(box=(box / scale).tolist(), label=self._classes[number], score=min(float(score), 1.0))
            for box, score, number in zip(boxes, scores, numbers, strict=True)
            if 0 <= number < len(self._classes)
        ]

    def _run(self, square: Picture) -> Floats:
        """Return the first output with a row for each detection, ``float32 [N, values]`` or ``[values, N]``."""
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 255))
        outputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
        flat = [np.asarray(output, np.float32) for output in outputs]
        rows = [output.reshape(output.shape[-2:]) for output in flat if output.ndim in (2, 3)]
        return rows[0] if rows else np.zeros((0, 0), np.float32)


def _layout(shape: tuple[int, ...], classes: int, image_size: int) -> Layout | None:
    """Return the layout of an output; None if it is unknown.

    Models that score the box write ``[N, values]``. The others write ``[values, N]``, some exporters ``[N, values]``.
    """
    if shape[1] == 6 and shape[0] <= _MAX_FINAL and shape[0] not in _detections(image_size):
        return "final"
    scores = (4 + classes, 4 + classes + _MASK_COEFFICIENTS)
    if shape[1] in (5 + classes, 5 + classes + _MASK_COEFFICIENTS) and shape[0] not in scores:
        return "box_and_classes"
    return "classes" if shape[0] in scores or shape[1] in scores else None


def _detections(image_size: int) -> set[int]:
    """Return the possible numbers of detections before NMS: one or three for each cell of the model's grids."""
    grids = [(image_size // stride) ** 2 for stride in (8, 16, 32, 64)]
    return {boxes * cells for boxes in (1, 3) for cells in (sum(grids[:3]), sum(grids))}


def _read(output: Floats, layout: Layout, classes: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return boxes ``[N, 4]`` (x0, y0, x1, y1), scores and numbers of the classes."""
    if layout == "final":
        return output[:, :4], output[:, 4], output[:, 5].astype(np.intp)
    first = 4 if layout == "classes" else 5
    rows = output if output.shape[1] in (first + classes, first + classes + _MASK_COEFFICIENTS) else output.T
    of_class = rows[:, first : first + classes]
    numbers = of_class.argmax(axis=1)
    scores = of_class[np.arange(len(rows)), numbers]
    if layout == "box_and_classes":
        scores = scores * rows[:, 4]
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1), scores, numbers


def _names(text: str) -> tuple[str, ...]:
    """Return the classes from metadata by Ultralytics: a Python dictionary, number to name."""
    named = _literal(text)
    return tuple(str(named[number]) for number in sorted(named)) if isinstance(named, dict) else ()


def _size(text: str) -> int:
    side = _literal(text)
    return max(side) if isinstance(side, list) and side and all(isinstance(one, int) for one in side) else _IMAGE_SIZE


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
