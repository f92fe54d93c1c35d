"""Masks as polygons: the encoding ``polygons`` of ``docs/protocol.md``, for consumers that draw or store outlines.

It is lossy: outlines are simplified (Douglas and Peucker 1973, by OpenCV), so that no border pixel lies further than
:data:`TOLERANCE_PX` from the polygon. Corners are centers of border pixels, which belong to the object. Holes are
polygons, too: fill with the even-odd rule.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ProtocolError

TOLERANCE_PX: Final = 0.7
"""Largest distance of a border pixel from its polygon; below 0.707 small objects stay exact."""

MAX_CORNERS: Final = 100_000
"""Maximum number of corners of one mask. Real masks have dozens."""


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
    simple = [
        _within_tolerance(outline[:, 0], cv2.approxPolyDP(outline, TOLERANCE_PX, closed=True)[:, 0]).tolist()
        for outline in outlines
    ]
    return msgspec.json.encode(Polygons(TOLERANCE_PX, simple))


def _within_tolerance(outline: NDArray[Any], corners: NDArray[Any]) -> NDArray[Any]:
    """Return corners that keep the whole outline within the tolerance: the given ones, and more if needed.

    OpenCV merges corners at the end, after which pixels may exceed the tolerance (0.9 pixels were seen).

    Args:
        outline: ``[N, 2]``, every pixel.
        corners: ``[M, 2]``, a subset in the same order.
    """
    if len(corners) == len(outline):
        return corners
    places = _places(outline, corners)
    if places is None:
        return outline
    count = len(outline)
    for _ in range(count):
        steps = np.diff(places, append=places[0] + count)
        side = np.repeat(np.arange(len(places)), steps)  # the side of each pixel, from the first corner on
        around = outline[(places[0] + np.arange(count)) % count]
        start = outline[places % count][side].astype(np.float64)
        way = np.roll(outline[places % count], -1, axis=0)[side] - start
        length = (way**2).sum(1)
        along = ((around - start) * way).sum(1) / np.where(length == 0, 1, length)
        far = ((around - start - along.clip(0, 1)[:, None] * way) ** 2).sum(1)
        beyond = np.flatnonzero(far > TOLERANCE_PX**2 + 1e-9)
        if not beyond.size:
            return outline[places % count]
        farthest = {side[at]: at for at in beyond[np.argsort(far[beyond])]}  # per side
        places = np.sort(np.concatenate([places, places[0] + np.array(list(farthest.values()))]))
    return outline


def _places(outline: NDArray[Any], corners: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the index of each corner in a closed outline; None if a corner is not in it."""
    shift = np.array([1 << 32, 1])  # one number per pixel: searching numbers is faster than searching pairs
    pixels = (outline @ shift).tolist() * 2
    at, places = -1, []
    try:
        for corner in (corners @ shift).tolist():
            at = pixels.index(corner, at + 1)
            places.append(at)
    except ValueError:
        return None
    return np.array(places) if places[-1] < places[0] + len(outline) else None


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
