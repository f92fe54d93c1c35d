"""Outlines of masks, for formats that only have polygons."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.client.results import ObjectMask
from streamseg.protocol.polygons import TOLERANCE_PX

_MIN_CORNERS: Final = 3


def outlines(obj: ObjectMask) -> list[NDArray[np.int32]]:
    """Return the outer outlines of an object, the largest first: ``int32 [N, 2]`` x, y in pixels of the frame.

    Holes are filled, and parts with fewer than three corners are dropped: these polygons cannot express them.
    """
    if obj.encoding == "none":
        return []
    found, _ = cv2.findContours(obj.crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(contour, TOLERANCE_PX, closed=True)[:, 0] for contour in found]
    kept = [polygon + np.array(obj.roi[:2]) for polygon in simple if len(polygon) >= _MIN_CORNERS]
    return sorted((polygon.astype(np.int32) for polygon in kept), key=lambda polygon: -cv2.contourArea(polygon))
