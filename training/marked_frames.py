"""Converts pictures with known masks to frames for the tracker, and finds where a careful user would click."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.frame import Frame, FrameFormat, FrameStamps


def as_frame(number: int, picture: NDArray[np.uint8]) -> Frame:
    """Return a picture, ``uint8 [H, W, 3]`` in RGB, as a frame of a file. Its clock stands still."""
    height, width = picture.shape[:2]
    plane = np.ascontiguousarray(picture).reshape(height, 3 * width)
    stamps = FrameStamps(0, "file", 0, 0, number, (1, 30))
    return Frame(number, 0, FrameFormat(width, height, "rgb24"), (plane,), stamps)


def deepest_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return x and y in pixels of the point that is farthest from the edge of a mask, ``bool [H, W]``."""
    bordered = np.pad(mask, 1).astype(np.uint8)
    depth = cv2.distanceTransform(bordered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(column), int(row)
