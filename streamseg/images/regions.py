"""Fills small holes and removes small islands of masks (``min_mask_region_area``)."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.images.found_mask import BoolMask, FoundMask
from streamseg.images.selection import suppress


def without_small_regions(masks: list[FoundMask], area: float, threshold: float) -> list[FoundMask]:
    """Return masks without holes and islands smaller than ``area`` pixels, and without new duplicates.

    Of two masks that have become duplicates, the unchanged one is kept.

    Args:
        masks: Masks of one picture.
        area: Area in pixels.
        threshold: IoU of boxes above which two masks are duplicates.
    """
    cleaned, scores = [], []
    for found in masks:
        before = found.mask
        after = without_islands(_without_holes(before, area), area)
        same = bool((after == before).all())
        cleaned.append(found if same else found.with_mask(after))
        scores.append(float(same))
    return [cleaned[number] for number in sorted(suppress(cleaned, scores, threshold))]


def _without_holes(mask: BoolMask, area: float) -> BoolMask:
    """Fill connected regions of background smaller than ``area``."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < area
    small[0] = True  # label 0 is the mask itself
    return np.asarray(small[labels])


def without_islands(mask: BoolMask, area: float) -> BoolMask:
    """Remove parts of a mask that are smaller than ``area``; the largest part always stays."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count == 1:
        return mask
    large = stats[:, cv2.CC_STAT_AREA] >= area
    large[0] = False
    if not large.any():
        large[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())] = True
    return np.asarray(large[labels])
