"""A found mask, packed to the bits of its bounding box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamseg.images.crops import Crop

BoolMask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1: the first and last pixels, both included, as in ``sam2/utils/amg.py``."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundMask:
    """A mask and its scores.

    Attributes:
        size: (width, height) of the picture, or of the crop before :meth:`uncrop`.
        box: The mask's first and last pixels; all 0 for an empty mask.
        bits: ``uint8 [rows, columns / 8]`` of the box.
        area: Number of pixels.
        predicted_iou: The model's estimate.
        stability_score: At full resolution; NaN for an empty mask.
        point: (x, y) of its prompt in pixels.
        crop: Where it was found.
    """

    size: tuple[int, int]
    box: Box
    bits: NDArray[np.uint8]
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop: Crop

    @property
    def roi(self) -> Box:
        """x, y, width and height of the rectangle of :attr:`pixels`."""
        x0, y0, x1, y1 = self.box
        return (x0, y0, x1 - x0 + 1, y1 - y0 + 1) if self.area else (0, 0, 0, 0)

    @property
    def pixels(self) -> BoolMask:
        """``bool [rows, columns]`` of :attr:`roi`."""
        _, _, width, height = self.roi
        return np.unpackbits(self.bits, axis=1, count=width).view(np.bool_).reshape(height, width)

    @property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the picture."""
        full = np.zeros(self.size[::-1], dtype=np.bool_)
        x, y, w, h = self.roi
        full[y : y + h, x : x + w] = self.pixels
        return full

    def uncrop(self, size: tuple[int, int]) -> FoundMask:
        """Return the mask in a picture of (width, height) that its crop is a part of."""
        x, y = self.crop.x0, self.crop.y0
        x0, y0, x1, y1 = self.box
        return replace(
            self,
            size=size,
            box=(x0 + x, y0 + y, x1 + x, y1 + y),
            point=(self.point[0] + x, self.point[1] + y),
        )

    def with_mask(self, mask: BoolMask) -> FoundMask:
        """Return the same with another mask ``[height, width]`` of the picture."""
        box, bits, area = packed(mask, (0, 0))
        return replace(self, box=box, bits=bits, area=area)


def packed(mask: BoolMask, origin: tuple[int, int]) -> tuple[Box, NDArray[np.uint8], int]:
    """Return box, bits and area of a mask whose first pixel is at ``origin``."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0, 0, 0, 0), np.zeros((0, 0), dtype=np.uint8), 0
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    tight = mask[y0 : y1 + 1, x0 : x1 + 1]
    x, y = origin
    return (x0 + x, y0 + y, x1 + x, y1 + y), np.packbits(tight, axis=1), int(np.count_nonzero(tight))
