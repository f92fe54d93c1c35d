"""Masks as polygons: the encoding ``polygons`` of ``docs/protocol.md``, for consumers that draw or store outlines.

It is lossy: outlines are simplified (Douglas and Peucker 1973, as OpenCV does it), so that no border pixel lies further
than :data:`TOLERANCE_PX` from the polygon. Corners are centers of border pixels, which belong to the object. Holes are
polygons, too: fill by the even-odd rule.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ProtocolError

TOLERANCE_PX: Final = 0.7
"""Largest distance of a border pixel from its polygon; below 0.707 small objects stay exact."""

MAX_CORNERS: Final = 100_000
"""Most corners of one mask. Real ones have dozens."""


class Polygons(msgspec.Struct, frozen=True):
    """A mask part, as JSON.

    Attributes:
        tolerance_px: Largest distance of a border pixel from its polygon.
        polygons: Each ``[[x, y], ...]`` in pixels of the ``roi``.
    """

    tolerance_px: float
    polygons: list[list[tuple[int, int]]]


def encode_polygons(mask: NDArray[np.uint8]) -> bytes:
    """Return a mask's outlines as JSON.

    Args:
        mask: ``uint8 [height, width]``, 0 or 1.
    """
    import cv2

    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(outline, TOLERANCE_PX, closed=True)[:, 0].tolist() for outline in outlines]
    return msgspec.json.encode(Polygons(TOLERANCE_PX, simple))


def decode_polygons(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a mask's outlines.

    Args:
        data: The message part.
        size: (width, height) of the mask.

    Returns:
        ``bool [height, width]``.

    Raises:
        ProtocolError: the part is malformed, or a corner lies outside the mask.
        ConfigError: OpenCV is not installed.
    """
    if find_spec("cv2") is None:
        raise ConfigError("masks sent as polygons need OpenCV to be filled: pip install opencv-python-headless")
    import cv2

    width, height = size
    try:
        polygons = msgspec.json.decode(data, type=Polygons).polygons
    except msgspec.DecodeError as error:
        raise ProtocolError(f"polygons: {error}") from None
    if sum(map(len, polygons)) > MAX_CORNERS:
        raise ProtocolError(f"polygons: more than {MAX_CORNERS} corners")
    if not all(0 <= x < width and 0 <= y < height for polygon in polygons for x, y in polygon):
        raise ProtocolError(f"polygons: a corner lies outside the {width}x{height} mask")
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.array(polygon, np.int32) for polygon in polygons if polygon], 1)
    return mask.view(np.bool_)
