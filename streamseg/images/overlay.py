"""Draws masks over a picture the way SAM does: largest first, in random colors, half transparent.

:mod:`streamseg.common.draw` draws the few tracked objects of a video, each in the color of its id with a label; here
are hundreds of masks without ids.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.images.found_mask import FoundMask

Picture = NDArray[np.uint8]

_OPACITY = 0.5
_OUTLINE_OPACITY = 0.9
_SMOOTH_PX = 360
"""A border is one pixel wide per this many pixels of the picture's short side."""


def overlay(picture: Picture, masks: Iterable[FoundMask], *, borders: bool = True) -> Picture:
    """Return the picture ``uint8 [H, W, 3]`` with masks drawn over it."""
    layer = draw_on_transparent(picture.shape[:2], masks, borders=borders)
    alpha = layer[..., 3:].astype(np.uint16)
    mixed = (layer[..., :3] * alpha + picture * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


def draw_on_transparent(shape: tuple[int, ...], masks: Iterable[FoundMask], *, borders: bool = True) -> Picture:
    """Return ``uint8 [H, W, 4]`` RGBA: the masks alone, without the picture.

    Args:
        shape: (height, width) of the picture.
        masks: Masks of that picture.
        borders: Draw a smooth border around each.
    """
    layer = np.zeros((*shape[:2], 4), dtype=np.uint8)
    for found in sorted(masks, key=lambda mask: -mask.area):
        x, y, w, h = found.roi
        if not found.area:
            continue
        color = color_of(found)
        pixels = found.pixels
        layer[y : y + h, x : x + w][pixels] = (*color, round(255 * _OPACITY))
        if borders:
            _draw_border(layer, pixels, (x, y), color)
    return layer


def side_by_side(*pictures: Picture) -> Picture:
    """Return pictures of one height next to each other."""
    return np.ascontiguousarray(np.hstack(pictures))


def color_of(found: FoundMask) -> tuple[int, int, int]:
    """Return a bright RGB color that looks random and depends only on the mask."""
    value = zlib.crc32(found.bits.tobytes() + bytes(str(found.box), "ascii"))
    hue, saturation, brightness = (value & 0xFFF) / 0x1000, (value >> 12 & 0xFF) / 255, (value >> 20 & 0xFF) / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * saturation, 0.7 + 0.3 * brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw_border(layer: Picture, pixels: NDArray[np.bool_], origin: tuple[int, int], color: tuple[int, ...]) -> None:
    """Draw the smoothed outline of a mask, in place."""
    width = max(1, round(min(layer.shape[:2]) / _SMOOTH_PX))
    pad = 2 * width + 1
    smooth = cv2.GaussianBlur(np.pad(pixels.astype(np.uint8) * 255, pad), (4 * width + 1, 4 * width + 1), 0)
    outlines, _ = cv2.findContours((smooth > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = [cv2.approxPolyDP(outline, 0.5, closed=True) for outline in outlines]
    bright = tuple(value + (255 - value) // 2 for value in color)
    offset = (origin[0] - pad, origin[1] - pad)
    cv2.drawContours(
        layer, outlines, -1, (*bright, round(255 * _OUTLINE_OPACITY)), width, lineType=cv2.LINE_AA, offset=offset
    )
