"""Accuracy of masks, and how well a score predicts it.

J and F are DAVIS's (Perazzi et al. 2016): region overlap and boundary agreement of one mask. AUROC is computed from
ranks (Mann and Whitney 1947), the expected calibration error over ranges of equal width (Guo et al. 2017). Training
judges its fits of confidence with the same two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]
Floats = NDArray[np.float64]

BOUNDARY_TOLERANCE = 0.008
"""How far two boundaries may lie apart and still agree, as a share of the picture's diagonal."""


def region_similarity(predicted: BoolMask, truth: BoolMask) -> float:
    """Return J, the intersection over union; 1 if both masks are empty."""
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def boundary_accuracy(predicted: BoolMask, truth: BoolMask, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """Return F, the harmonic mean of the boundaries' precision and recall; 1 if both masks are empty.

    Args:
        predicted: ``bool [H, W]``.
        truth: ``bool [H, W]``.
        tolerance: Share of the diagonal below 1, or pixels.
    """
    reach = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*truth.shape))
    ours, theirs = boundary(predicted), boundary(truth)
    if not ours.any() and not theirs.any():
        return 1.0
    if not ours.any() or not theirs.any():
        return 0.0
    precision = np.count_nonzero(ours & _near(theirs, reach)) / np.count_nonzero(ours)
    recall = np.count_nonzero(theirs & _near(ours, reach)) / np.count_nonzero(theirs)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary(mask: BoolMask) -> BoolMask:
    """Return the pixels that differ from their right, lower or lower right neighbor inside the picture."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def _near(edges: BoolMask, reach: float) -> BoolMask:
    """Return the pixels within ``reach`` of an edge."""
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= reach + 1e-3)


def lies_on_another(mask: BoolMask, truths: Mapping[int, BoolMask], obj_id: int) -> bool:
    """Return whether more than half of a mask's pixels belong to objects other than its own."""
    area = np.count_nonzero(mask)
    others = sum(np.count_nonzero(mask & truth) for other, truth in truths.items() if other != obj_id)
    return 2 * others > area


def ranking_quality(scores: Floats, good: BoolMask) -> float:
    """Return AUROC: the probability that a good one scores higher than a bad one; ties count half.

    NaN if there are no good or no bad ones.
    """
    positives = int(good.sum())
    if positives in (0, good.size):
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[good].sum() - positives * (positives + 1) / 2) / (positives * (good.size - positives)))


def expected_calibration_error(scores: Floats, good: BoolMask, ranges: int = 10) -> float:
    """Return the mean distance of the score and the share of good ones, over ranges of equal width, by their size."""
    place = np.minimum((scores * ranges).astype(int), ranges - 1)
    error = 0.0
    for index in np.unique(place):
        inside = place == index
        error += inside.mean() * abs(scores[inside].mean() - good[inside].mean())
    return float(error)
