"""Compares the boxes of masks, which is much cheaper than comparing masks."""

from __future__ import annotations

Box = tuple[float, float, float, float]
"""x, y, width, height."""


def box_iou(one: Box, other: Box) -> float:
    """Return the IoU of two boxes; 0 if both are empty."""
    common = _common(one, other)
    both = one[2] * one[3] + other[2] * other[3] - common
    return common / both if both else 0.0


def box_inside(one: Box, other: Box) -> float:
    """Return the share of the smaller box that lies in the larger one; 0 if it is empty."""
    smaller = min(one[2] * one[3], other[2] * other[3])
    return _common(one, other) / smaller if smaller else 0.0


def _common(one: Box, other: Box) -> float:
    (x0, y0, w0, h0), (x1, y1, w1, h1) = one, other
    width = min(x0 + w0, x1 + w1) - max(x0, x1)
    height = min(y0 + h0, y1 + h1) - max(y0, y1)
    return max(0.0, width) * max(0.0, height)
