"""J and F as DAVIS defines them (Perazzi et al. 2016): region overlap and boundary agreement of one mask."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]

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
