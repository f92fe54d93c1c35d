"""Draws a prompt as a mask, for trackers without a network."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from streamseg.tracker.types import BoolMask, Prompt

_DISC_RADIUS: Final = 0.03
"""Radius of a click's disc as a share of the frame's shorter side."""


def prompt_mask(prompt: Prompt, size: tuple[int, int], present: BoolMask | None = None) -> BoolMask:
    """Draw a prompt: its mask, or its box and a small disc for each click.

    Args:
        prompt: The prompt.
        size: (width, height) of the frame.
        present: ``bool [height, width]``: the mask that clicks without a box correct; negative clicks cut discs out.

    Returns:
        ``bool [height, width]``, a new array.
    """
    width, height = size
    if prompt.mask is not None:
        return prompt.mask.copy()
    if prompt.box is not None:
        mask = np.zeros((height, width), dtype=np.bool_)
        x0, y0, x1, y1 = prompt.box
        mask[max(math.floor(y0), 0) : math.ceil(y1), max(math.floor(x0), 0) : math.ceil(x1)] = True
    else:
        mask = np.zeros((height, width), dtype=np.bool_) if present is None else present.copy()
    rows, columns = np.ogrid[:height, :width]
    radius = max(_DISC_RADIUS * min(size), 2.0)
    for point in prompt.points:
        mask[(columns - point.x) ** 2 + (rows - point.y) ** 2 <= radius**2] = point.label == 1
    return mask
