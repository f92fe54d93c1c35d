"""Boxes of masks, compared: much cheaper than the masks."""

from __future__ import annotations

Box = tuple[float, float, float, float]
"""x, y, width, height."""


def box_iou(one: Box, other: Box) -> float:
    """Return the IoU of two boxes; 0 if both are empty."""
    (x0, y0, w0, h0), (x1, y1, w1, h1) = one, other
    width = min(x0 + w0, x1 + w1) - max(x0, x1)
    height = min(y0 + h0, y1 + h1) - max(y0, y1)
    common = max(0.0, width) * max(0.0, height)
    both = w0 * h0 + w1 * h1 - common
    return common / both if both else 0.0
