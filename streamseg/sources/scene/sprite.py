"""An object painted once, then drawn into pictures at any position, angle and size, in integer arithmetic.

Not ``cv2.warpAffine``, whose interpolation differs between machines in the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.sources.scene.cast import Actor, Pose
from streamseg.sources.scene.texture import Picture, to_bytes

_TEXELS_A_PIXEL: Final = 2.0
"""Sprites are finer than the picture and blurred to its pixel size, so that the nearest texel shows no steps.
Interpolation would differ between machines."""

_ONE: Final = 1 << 16
_NO_FRACTION: Final = np.empty(0, dtype=np.uint16)
_SHADOW_SHIFT: Final = 2
_SHADOW_COARSENESS: Final = 1 << _SHADOW_SHIFT
_SHADOW_STRENGTH: Final = 0.42


@dataclass(frozen=True, slots=True)
class Stamp:
    """A sprite mapped to the picture's pixels, before clipping.

    Attributes:
        left: First column in the picture; may be negative.
        top: First row, likewise.
        texels: ``int16 [h, w, 2]``: column and row of the sprite for each pixel; may be outside the sprite.
    """

    left: int
    top: int
    texels: NDArray[np.int16]


class Sprite:
    """The image of one object.

    Args:
        actor: The object.
        height: Height of the video in pixels; determines the sprite's resolution.

    Attributes:
        rgba: ``uint8 [rows, columns, 4]``: color and opacity; opacity 0 is outside the object.
        shadow: ``uint8``, at lower resolution: how much the shadow darkens, of 255; None without a shadow.
    """

    def __init__(self, actor: Actor, height: int) -> None:
        kind = actor.kind
        columns = max(8, round(2.0 * actor.half_length * height * (1.0 + actor.swell) * _TEXELS_A_PIXEL))
        rows = max(8, round(columns * kind.half_height))
        texel = 2.0 / columns
        v, u = np.meshgrid(
            (np.arange(rows) + 0.5) * texel - 0.5 * rows * texel,
            (np.arange(columns) + 0.5) * texel - 1.0,
            indexing="ij",
        )
        color, inside = kind.paint(actor.seed, u, v, texel)
        coverage = _blur(to_bytes(np.clip(0.5 + inside / texel, 0.0, 1.0)))
        # A pixel belongs to the object if the object covers at least half of it; otherwise nothing is drawn.
        weight = np.where(coverage >= 128, 255 if kind.plain else coverage, 0).astype(np.uint8)
        self.rgba: Picture = np.ascontiguousarray(np.dstack([_blur(to_bytes(color)), weight]))
        self.shadow: Picture | None = None if kind.plain else _shadow(coverage)
        self._swims = kind.swims

    def place(self, pose: Pose) -> Stamp:
        """Return the texel of each pixel that the sprite covers in a pose."""
        rows, columns = self.rgba.shape[:2]
        texels_a_pixel = columns / (2.0 * pose.scale)
        cos, sin = math.cos(pose.angle), math.sin(pose.angle)
        half_w, half_h = pose.scale, pose.scale * rows / columns
        reach_x = abs(cos) * half_w + abs(sin) * half_h
        reach_y = abs(sin) * half_w + abs(cos) * half_h
        left, top = math.floor(pose.x - reach_x), math.floor(pose.y - reach_y)
        width, height = math.ceil(pose.x + reach_x) - left, math.ceil(pose.y + reach_y) - top
        step_cos, step_sin = round(cos * texels_a_pixel * _ONE), round(sin * texels_a_pixel * _ONE)
        first_x, first_y = left + 0.5 - pose.x, top + 0.5 - pose.y
        origin_column = round(((first_x * cos + first_y * sin) * texels_a_pixel + 0.5 * columns) * _ONE)
        origin_row = round(((first_y * cos - first_x * sin) * texels_a_pixel + 0.5 * rows) * _ONE)
        x = np.arange(width, dtype=np.int32)
        y = np.arange(height, dtype=np.int32)[:, None]
        texels = np.empty((height, width, 2), dtype=np.int16)
        texels[..., 0] = (x * step_cos + (y * step_sin + origin_column)) >> 16
        row = (y * step_cos + (origin_row - x * step_sin)) >> 16
        if self._swims:
            row += self._stroke(pose.sway).take(texels[..., 0], mode="clip")
        texels[..., 1] = row
        return Stamp(left, top, texels)

    def _stroke(self, sway: float) -> NDArray[np.int32]:
        """Sideways bend of a swimming body in texels, per column: a wave that grows toward the tail."""
        columns = self.rgba.shape[1]
        bend = []
        for column in range(0, columns, 4):
            along = column / columns
            size = 0.032 * (1.0 - along) ** 2 + 0.006
            bend.append(round(size * columns * math.sin(2.0 * math.pi * (sway + 0.8 * along))))
        return np.repeat(np.array(bend, dtype=np.int32), 4)[:columns]


def lay_over(sprite: Sprite, stamp: Stamp, picture: Picture, taken: NDArray[np.bool_]) -> None:
    """Draw an object into a picture.

    Args:
        sprite: The object.
        stamp: Its position.
        picture: ``uint8 [H, W, 3]``; modified.
        taken: ``bool [H, W]``: pixels that already show an object; modified.
    """
    clipped = _clip(stamp, picture.shape[1], picture.shape[0])
    if clipped is None:
        return
    rows, columns, texels = clipped
    rgba = _sample_rgba(sprite, texels)
    color, weight = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), dtype=np.uint8), rgba[..., 3]
    area, below = picture[rows, columns], taken[rows, columns]
    shown = weight > 0
    edge = np.flatnonzero(shown & (weight < 255) & ~below)
    share = weight.ravel()[edge].astype(np.uint16)[:, None]
    share += share >> 7  # 0..256
    y, x = np.divmod(edge, weight.shape[1])
    smoothed = (color[y, x] * share + area[y, x] * (256 - share) + 128) >> 8
    cv2.copyTo(color, shown.view(np.uint8), area)
    area[y, x] = smoothed
    below |= shown


def lay_under(sprite: Sprite, stamp: Stamp, offset: int, picture: Picture) -> None:
    """Darken a picture by an object's shadow, ``offset`` pixels below the object and half as far to its right."""
    if sprite.shadow is None:
        return
    moved = Stamp(stamp.left + offset // 2, stamp.top + offset, stamp.texels)
    clipped = _clip(moved, picture.shape[1], picture.shape[0])
    if clipped is None:
        return
    rows, columns, texels = clipped
    light = cv2.cvtColor(255 - _nearest(sprite.shadow, texels >> _SHADOW_SHIFT), cv2.COLOR_GRAY2RGB)
    area = picture[rows, columns]
    # A product of bytes divided by 255 is never halfway between two integers, so every machine rounds it equally.
    cv2.multiply(area, light, dst=area, scale=1 / 255)


def own(sprite: Sprite, stamp: Stamp, obj_id: int, owners: Picture) -> None:
    """Write an object's id into a map of owners ``uint8 [H, W]`` wherever the object is visible."""
    clipped = _clip(stamp, owners.shape[1], owners.shape[0])
    if clipped is not None:
        rows, columns, texels = clipped
        owners[rows, columns][_sample_rgba(sprite, texels)[..., 3] > 0] = obj_id


def _clip(stamp: Stamp, width: int, height: int) -> tuple[slice, slice, NDArray[np.int16]] | None:
    """Return the rows and columns of a picture that a stamp covers and their texels, None if it is outside."""
    rows, columns = stamp.texels.shape[:2]
    top, left = max(0, stamp.top), max(0, stamp.left)
    bottom, right = min(height, stamp.top + rows), min(width, stamp.left + columns)
    if top >= bottom or left >= right:
        return None
    inner = stamp.texels[top - stamp.top : bottom - stamp.top, left - stamp.left : right - stamp.left]
    return slice(top, bottom), slice(left, right), inner


def _sample_rgba(sprite: Sprite, texels: NDArray[np.int16]) -> Picture:
    """Return the texel of each pixel ``uint8 [h, w, 4]``, zeros outside the sprite."""
    # Four bytes at once is three times as fast as one at a time.
    packed = sprite.rgba.view(np.int32)[..., 0]
    return _nearest(packed, texels)[..., None].view(np.uint8)


def _nearest(image: NDArray[Any], texels: NDArray[np.int16]) -> NDArray[Any]:
    picked = cv2.remap(image, texels, _NO_FRACTION, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(picked)


def _blur(image: Picture) -> Picture:
    """Average each texel with its three neighbors to the left and above: one pixel wide at two texels per pixel."""
    wide = np.pad(image.astype(np.uint16), [(1, 0), (1, 0)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    total = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
    return np.asarray((total + 2) >> 2, dtype=np.uint8)


def _shadow(coverage: Picture) -> Picture:
    """Return the blurred outline at a quarter of the resolution, 0..255 times the shadow's strength."""
    rows, columns = (length // _SHADOW_COARSENESS for length in coverage.shape)
    coarse = coverage[: rows * _SHADOW_COARSENESS, : columns * _SHADOW_COARSENESS]
    coarse = coarse.reshape(rows, _SHADOW_COARSENESS, columns, _SHADOW_COARSENESS).astype(np.int64)
    strength = coarse.sum(axis=(1, 3)) // _SHADOW_COARSENESS**2
    width = max(1, columns // 16)
    for _ in range(2):
        for axis in (0, 1):
            padded = np.pad(strength, [(width + 1, width) if axis == a else (0, 0) for a in (0, 1)])
            sums = np.cumsum(padded, axis=axis)
            high = np.take(sums, np.arange(2 * width + 1, sums.shape[axis]), axis=axis)
            low = np.take(sums, np.arange(sums.shape[axis] - 2 * width - 1), axis=axis)
            strength = (high - low) // (2 * width + 1)
    # The outermost texels must be zero, or the shadow would have a visible edge.
    strength[[0, -1]] = 0
    strength[:, [0, -1]] = 0
    return np.asarray((strength * round(256 * _SHADOW_STRENGTH)) >> 8, dtype=np.uint8)
