"""A tracker that repeats its prompts, to measure the cost of the pipeline without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import Frame
from streamseg.tracker.measure import count_pixels, object_result
from streamseg.tracker.simple.network_free import NetworkFreeTracker
from streamseg.tracker.simple.prompt_mask import prompt_mask
from streamseg.tracker.types import BoolMask, ObjectResult, Prompt


@dataclass(slots=True)
class _Repeated:
    mask: BoolMask
    result: ObjectResult | None = None


class EchoTracker(NetworkFreeTracker[tuple[int, int], _Repeated]):
    """Returns each object's prompt as its mask, unchanged, on every frame.

    A box becomes a rectangle, a click a small disc. The mask is scaled when the frame's size changes. The frame's
    planes are not read.
    """

    def _look(self, frame: Frame) -> tuple[int, int]:
        return frame.format.width, frame.format.height

    def _prompted(
        self, view: tuple[int, int], prompt: Prompt, size: tuple[int, int], present: _Repeated | None
    ) -> _Repeated:
        return _Repeated(prompt_mask(prompt, size, None if present is None else _scaled(present.mask, size)))

    def _locate(self, target: _Repeated, view: tuple[int, int], size: tuple[int, int], obj_id: int) -> ObjectResult:
        if target.result is None or target.result.size != size:
            mask = _scaled(target.mask, size)
            target.result = object_result(
                obj_id, size, count_pixels(mask), iou_prediction=1.0, object_score_logits=10.0
            )
        return target.result

    def _export(self, target: _Repeated) -> dict[str, NDArray[Any]]:
        return {"mask": target.mask}

    def _import(self, arrays: Mapping[str, NDArray[Any]]) -> _Repeated:
        return _Repeated(np.asarray(arrays["mask"], dtype=np.bool_))


def _scaled(mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    if mask.shape == (size[1], size[0]):
        return mask
    resized = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, dtype=np.uint8).view(np.bool_)
