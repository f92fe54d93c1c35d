"""Removes specks and fills holes of masks.

Runs on the CPU for every device: published masks are there anyway, and only the mask's bounding box is searched. torch
has no GPU kernel for connected components.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.tracker.measure import with_mask
from streamseg.tracker.types import BoolMask, ObjectResult


def cleaned(result: ObjectResult, smallest_px: int, *, fill_holes: bool = True) -> ObjectResult:
    """Return an object without specks and holes that have fewer pixels than this.

    Pixels belong together if they share a side. The largest part of an object always stays. An area that is open to the
    border of the mask's bounding box is not a hole.
    """
    if smallest_px <= 1 or result.area == 0:
        return result
    mask = _without_specks(result.mask, smallest_px)
    if fill_holes:
        mask = _without_holes(mask, smallest_px)
    return result if np.array_equal(mask, result.mask) else with_mask(result, mask)


def _without_specks(mask: BoolMask, smallest_px: int) -> BoolMask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = areas >= smallest_px
    kept[0] = False  # the background
    if count > 1:
        kept[1 + int(areas[1:].argmax())] = True
    return np.asarray(kept[labels], dtype=np.bool_)


def _without_holes(mask: BoolMask, smallest_px: int) -> BoolMask:
    # A rim of background around the bounding box joins everything that is outside the mask.
    rim = np.pad(~mask, 1, constant_values=True)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(rim.view(np.uint8), connectivity=4)
    filled = stats[:, cv2.CC_STAT_AREA] < smallest_px
    filled[0] = False  # the object
    filled[labels[0, 0]] = False
    return mask | np.asarray(filled[labels[1:-1, 1:-1]], dtype=np.bool_)
