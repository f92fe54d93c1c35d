"""Checks whether a prompt found the marked object, for restarts and refusals. Imports no torch."""

from __future__ import annotations

import math
from typing import Final

from streamseg.errors import PromptError
from streamseg.tracker.boxes import box_iou
from streamseg.tracker.types import ObjectResult, Prompt

_FAR_SMALLER: Final = 0.25
"""A mask is refused if less than this share of its pixels remains at the model's resolution."""

_FOUND: Final = 0.5
"""Minimum agreement for an object to count as found at the marked place."""


def agreement(prompt: Prompt, result: ObjectResult) -> float:
    """Return how well a mask agrees with the prompt that it came from, 0..1.

    The smallest of: share of the positive points inside the mask, IoU of the box with the mask's bounding box, IoU of
    the two masks.
    """
    if result.area == 0:
        return 0.0
    shares = [1.0]
    positive = [point for point in prompt.points if point.label == 1]
    if positive:
        shares.append(sum(_contains(result, point.x, point.y) for point in positive) / len(positive))
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        shares.append(box_iou((x0, y0, x1 - x0, y1 - y0), result.roi))
    if prompt.mask is not None:
        x, y, w, h = result.roi
        common = int((prompt.mask[y : y + h, x : x + w] & result.mask).sum())
        shares.append(common / (int(prompt.mask.sum()) + result.area - common))
    return min(shares)


def is_found(prompt: Prompt, result: ObjectResult) -> bool:
    """Return whether a mask lies where the prompt marked the object."""
    return agreement(prompt, result) >= _FOUND


def is_positive(prompt: Prompt) -> bool:
    """Return whether a prompt marks where the object is, not only where it is not."""
    return prompt.mask is not None or prompt.box is not None or any(point.label == 1 for point in prompt.points)


def check_found(prompt: Prompt, result: ObjectResult, smallest: tuple[int, int]) -> None:
    """Refuse a prompt that gave no mask, or a far smaller one than marked.

    Args:
        prompt: The prompt.
        result: Its mask.
        smallest: (width, height) in pixels of the smallest object that the model can track in this frame.

    Raises:
        PromptError: The prompt is positive, and its mask is empty or far smaller than the mask that was given.
    """
    if not is_positive(prompt):
        return
    given = 0 if prompt.mask is None else int(prompt.mask.sum())
    if result.area > 0 and result.area >= _FAR_SMALLER * given:
        return
    width, height = smallest
    limit = (
        f"the smallest object that this model can track in a frame of {result.size[0]}x{result.size[1]} is about "
        f"{width}x{height} pixels"
    )
    if prompt.mask is not None:
        raise PromptError(
            f"object {prompt.obj_id}: of the mask's {given} pixels {result.area} are left at the model's resolution: "
            f"{limit}: mark a larger object, or raise model.image_size"
        )
    raise PromptError(
        f"object {prompt.obj_id}: the prompt gave no mask: mark the middle of the object, or draw a box around it; "
        f"{limit}, more with a larger model.image_size"
    )


def _contains(result: ObjectResult, x: float, y: float) -> bool:
    left, top, width, height = result.roi
    column = min(math.floor(x), result.size[0] - 1) - left
    row = min(math.floor(y), result.size[1] - 1) - top
    return 0 <= column < width and 0 <= row < height and bool(result.mask[row, column])
