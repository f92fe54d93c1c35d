"""Rasterize the areas that settings describe by their corners: zones, and where objects may be found."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from streamseg.config.schema import AreaConfig
from streamseg.tracker.types import BoolMask


def polygon_mask(areas: Iterable[AreaConfig], size: tuple[int, int]) -> BoolMask:
    """Return ``bool [height, width]``: the pixels of a frame of (width, height) that lie in one of the areas."""
    import cv2  # 0.1 s, and only streams with areas need it

    mask = np.zeros((size[1], size[0]), np.uint8)
    for area in areas:
        scale = size if area.coords == "normalized" else (1, 1)
        corners = np.array(area.polygon) * scale
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(np.bool_)
