"""Moves the edges of masks to where the colors of the picture change: ``model.mask_edges: colors``.

The decoder says for cells of four by four pixels what belongs to an object, and a small model is often wrong by a cell
along the edge: fins, leaf tips and handles are lost. Colors are known at every pixel. So for each mask and frame, the
colors well inside the mask are compared with those around it, and near the edge the logit of each pixel is raised or
lowered by the log ratio of the two; a guided filter then makes the edge follow the picture's. What the colors do not
speak against is not taken from a mask.

Published masks only: memory keeps the decoder's, for which the model was trained. Two histograms and their ratio are
from Collins and Liu (2003), the guided filter from He et al. (2010); OpenCV has it only in its contrib package. On the
host, with OpenCV: at 1080p, with the scaling, it takes less time than torch's interpolation of the decoder's masks, at
640x360 more. ``sam2/appearance.py`` tells colors apart, too, but with tensors inside the compiled step, and at half the
resolution.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamseg.tracker.postprocess import LowRes, results_of
from streamseg.tracker.types import BoolMask, ObjectResult

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Part = tuple[slice, slice]
"""Rows and columns of a picture or of a mask."""

_BINS: Final = (8, 16)
"""Colors are told apart by luma and two differences of chroma."""
_SPREAD: Final = np.array([0.25, 0.5, 0.25], np.float32)
_SAME: Final = np.ones(1, np.float32)
"""How a count of colors is spread to their neighbors, or not."""
_CHROMA_RANGE: Final = 89
"""Chroma is cut at this, of at most 128: hardly any picture has more."""
_UNKNOWN: Final = 1e-3
"""Added to the share of each color: one that was not seen proves little."""
_MOST: Final = 3.0
"""The largest log ratio."""
_STRENGTH: Final = 2.0
"""Logits per unit of the log ratio."""
_EDGE: Final = 2
"""Pixels within this many cells of the mask's edge may change."""
_INSIDE: Final = 1
"""Colors of the object are taken from this many cells inside the edge on,"""
_OUTSIDE: Final = (2, 6)
"""and those of its surroundings from this many to this many cells outside of it."""
_FEW_PX: Final = 20
"""If fewer pixels are inside, the whole mask counts."""
_RADIUS_PX: Final = 4
"""Of the guided filter,"""
_RADIUS_SHARE: Final = 0.1
"""but at most this share of the side of a square as large as the object: a filter blurs what is smaller."""
_AGAINST: Final = 0.25
"""The filter takes no pixel of the mask whose log ratio is above minus this: it would erase thin parts of an object in
the colors of its surroundings."""
_SMOOTHNESS: Final = 0.01
"""Of the guided filter, for a guide whose values are at most 1 apart."""
_HALF: Final = 127


def color_edged(masks: LowRes, picture: Tensor, *, alternatives: bool = False) -> list[ObjectResult]:
    """Convert the masks of one frame's objects to results whose edges follow the picture's colors.

    Everything happens on the host: syncs on a device.

    Args:
        masks: Of the frame, as for :func:`~streamseg.tracker.postprocess.to_results`.
        picture: ``uint8 [3, S, S]`` RGB, or ``[1, S, S]`` gray: the model's input before it was normalized.
        alternatives: The masks are candidates for one object, not objects beside each other.
    """
    if not masks.obj_ids:
        return []
    logits = masks.mask_logits.float().cpu().numpy()
    rivals = logits[:0] if alternatives else logits
    colors = colors_of(picture.cpu().numpy())
    shares = (share_of_object(mask, rivals, colors) for mask in logits)
    return results_of(masks, (_at_video_size(*share, len(colors), masks.size) for share in shares))


def colors_of(picture: Bytes) -> NDArray[np.int16]:
    """Return the color of each pixel, below 2048, for :func:`share_of_object`: ``[S, S]``.

    Args:
        picture: ``[3, S, S]`` RGB, or ``[1, S, S]`` gray.
    """
    planes = picture if len(picture) == 3 else (picture[0],) * 3
    bins = cv2.LUT(cv2.cvtColor(cv2.merge(tuple(planes)), cv2.COLOR_RGB2YCrCb), _color_tables())
    return np.asarray(cv2.transform(bins, np.ones((1, 3))))


def share_of_object(logits: Floats, rivals: Floats, colors: NDArray[np.int16]) -> tuple[Part, Floats]:
    """Return how much each pixel of the picture belongs to an object.

    Args:
        logits: ``[h, w]``; the object's mask; object where > 0.
        rivals: ``[N, h, w]``; those of all objects that limit it: what one of them claims more is not gained.
        colors: ``[S, S]`` of :func:`colors_of`; S is a multiple of h and w.

    Returns:
        The rows and columns that hold the whole object and a margin, and the shares there: 0..1, object where > 0.5.
        Nothing if the mask is empty or has values that are not finite.
    """
    mask = (logits > 0).astype(np.uint8)
    if not mask.any() or not np.isfinite(logits).all():
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
    cell = len(colors) // len(logits)
    near = _reach(mask, _EDGE + 1)
    part = _scaled(near, cell)
    scaled = cv2.resize(logits, colors.shape[::-1], interpolation=cv2.INTER_LINEAR)[part]
    share = _sigmoid(scaled)
    ratio = _color_ratio(mask, colors)
    if ratio is None:
        return part, share
    mask, evidence = mask[near], ratio[colors[part]]
    for_object = cv2.blur(evidence, (3, 3))
    moved = _sigmoid(scaled + _STRENGTH * for_object)
    radius = min(_RADIUS_PX, round(_RADIUS_SHARE * cell * float(mask.sum()) ** 0.5))
    if radius:
        kept = np.minimum(moved, share)
        moved = _guided(moved, evidence / (2 * _MOST), radius)
        np.maximum(moved, kept, out=moved, where=(share > 0.5) & (for_object > -_AGAINST))
    theirs = np.asarray((rivals[:, near[0], near[1]] > logits[near]).any(0))
    if theirs.any():
        np.minimum(moved, share, out=moved, where=_pixels(theirs, cell))
    edge = cv2.dilate(mask, _disk(_EDGE)) - cv2.erode(mask, _disk(_EDGE), borderValue=1)
    np.copyto(share, moved.clip(0, 1), where=_pixels(edge, cell))
    return part, share


def _color_ratio(mask: Bytes, colors: NDArray[np.int16]) -> Floats | None:
    """Return for each color the log of its share inside a mask ``[h, w]`` to that around it; None: nothing is."""
    cell = len(colors) // len(mask)
    around = _reach(mask, _OUTSIDE[1])
    mask, seen = mask[around], colors[_scaled(around, cell)]
    inside = cv2.erode(mask, _disk(_INSIDE), borderValue=1)
    if cell * cell * int(inside.sum()) < _FEW_PX:
        inside = mask
    outside = cv2.dilate(mask, _disk(_OUTSIDE[1])) - cv2.dilate(mask, _disk(_OUTSIDE[0]))
    if not outside.any():
        return None
    of_object, of_others = (_shares(seen[_pixels(cells, cell)]) for cells in (inside, outside))
    return (np.log(of_object) - np.log(of_others)).clip(-_MOST, _MOST)


def _at_video_size(part: Part, share: Floats, side: int, size: tuple[int, int]) -> tuple[tuple[int, int], BoolMask]:
    """Return (x, y) of a mask's first pixel in a frame of (width, height) pixels, and ``bool [rows, columns]``.

    In 8 bit, which moves an edge by a hundredth of a pixel of the picture, and takes a fifth of the time.

    Args:
        part: Rows and columns of the picture that hold the whole object.
        share: Of the object there.
        side: Of the picture.
        size: Of the frame.
    """
    if not share.size:
        return (0, 0), np.zeros((0, 0), np.bool_)
    width, height = size
    (top, bottom), (left, right) = _aligned(part[0], side, height), _aligned(part[1], side, width)
    levels = np.zeros((bottom - top, right - left), np.uint8)
    rows, columns = part
    levels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = cv2.convertScaleAbs(
        share, alpha=255
    )
    x, y = left * width // side, top * height // side
    shape = right * width // side - x, bottom * height // side - y
    return (x, y), cv2.resize(levels, shape, interpolation=cv2.INTER_LINEAR) > _HALF


def _aligned(axis: slice, side: int, length: int) -> tuple[int, int]:
    """Return a range that contains ``axis`` and is scaled from ``side`` to ``length`` as the whole axis is.

    Both its ends are where a pixel of the picture and one of the frame begin.
    """
    step = side // math.gcd(side, length)
    return axis.start // step * step, -(-axis.stop // step) * step


def _reach(mask: Bytes, cells: int) -> Part:
    """Return the rows and columns of ``mask [h, w]`` that are within some cells of the object's box."""
    spans = zip(mask.shape, (np.flatnonzero(mask.any(axis)) for axis in (1, 0)), strict=True)
    rows, columns = (slice(max(0, int(at[0]) - cells), min(side, int(at[-1]) + 1 + cells)) for side, at in spans)
    return rows, columns


def _scaled(part: Part, cell: int) -> Part:
    """Return the pixels of some cells."""
    rows, columns = (slice(cell * side.start, cell * side.stop) for side in part)
    return rows, columns


def _sigmoid(logits: NDArray[Any]) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-20, 20))), np.float32)


def _shares(colors: NDArray[np.int16]) -> Floats:
    """Return the share of each color, spread over its neighbors: ``[2048]``, none of them 0."""
    luma, chroma = _BINS[0], _BINS[1]
    count = np.bincount(colors, minlength=chroma * chroma * luma).astype(np.float32) / max(1, len(colors))
    spread = cv2.sepFilter2D(
        count.reshape(chroma, chroma, luma), -1, _SPREAD, _SPREAD, borderType=cv2.BORDER_REPLICATE
    ).reshape(-1, luma)
    return cv2.sepFilter2D(spread, -1, _SPREAD, _SAME, borderType=cv2.BORDER_REPLICATE).ravel() + _UNKNOWN


def _guided(values: NDArray[Any], guide: NDArray[Any], radius: int) -> NDArray[Any]:
    """Return the guided filter of a map by another one, both ``[h, w]``."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean, mean_guide = cv2.blur(values, size), cv2.blur(guide, size)
    variance = cv2.blur(guide * guide, size) - mean_guide * mean_guide
    slope = (cv2.blur(guide * values, size) - mean_guide * mean) / (variance + _SMOOTHNESS)
    return np.asarray(cv2.blur(slope, size) * guide + cv2.blur(mean - slope * mean_guide, size))


def _pixels(cells: NDArray[Any], cell: int) -> NDArray[np.bool_]:
    """Return for each pixel what ``cells [h, w]`` say, 0 or 1."""
    return np.asarray(cells.repeat(cell, 0).repeat(cell, 1), np.bool_)


@functools.cache
def _disk(radius: int) -> Bytes:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)


@functools.cache
def _color_tables() -> NDArray[np.int16]:
    """Return what each byte of Y, Cr and Cb adds to a color: ``[1, 256, 3]``."""
    level = np.arange(256)
    chroma = ((level - 128).clip(-_CHROMA_RANGE, _CHROMA_RANGE) + _CHROMA_RANGE) * _BINS[1] // (2 * _CHROMA_RANGE + 1)
    luma = level * _BINS[0] // 256
    tables = luma, chroma * _BINS[1] * _BINS[0], chroma * _BINS[0]
    return np.stack(tables, -1).astype(np.int16)[None]
