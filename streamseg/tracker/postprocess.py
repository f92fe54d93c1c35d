"""From the model's low-res masks to results at video resolution.

The reference (``sam2/sam2_video_predictor.py``, ``_get_orig_video_res_output``) interpolates all logits bilinearly to
the video's size (``align_corners=False``); the object is where they are > 0. The masks here are the same bit for bit,
but on the CPU only the rectangle that can hold the object is interpolated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from streamseg.tracker.measure import object_result
from streamseg.tracker.types import BoolMask, ObjectResult

_LANES_AT_ONCE: Final = 8
"""Lanes that are interpolated together on a device: bounds its memory to 8 float frames (265 MB at 4K)."""

_Located = tuple[tuple[int, int], BoolMask]
"""(x, y) of a mask's first pixel, and ``bool [rows, columns]`` that holds all of the object."""


def to_results(
    obj_ids: Sequence[int],
    mask_logits: torch.Tensor,
    iou_prediction: torch.Tensor,
    object_score_logits: torch.Tensor,
    size: tuple[int, int],
) -> list[ObjectResult]:
    """Turn the masks of one stream's objects into results.

    Syncs: on a device, one transfer for all objects.

    Args:
        obj_ids: The objects' ids, N of them.
        mask_logits: ``float [N, h, w]`` low-res; object where > 0. Beside NaN and infinities a mask means little.
        iou_prediction: ``float [N]``.
        object_score_logits: ``float [N]``; > 0: visible.
        size: (width, height) of the video frame in pixels.
    """
    if not obj_ids:
        return []
    scores = torch.stack((iou_prediction.reshape(-1), object_score_logits.reshape(-1)), dim=1).float()
    if mask_logits.device.type == "cpu":
        located: Iterator[_Located] = (_crop(logits, size) for logits in mask_logits.float())
    else:
        packed, scores = _transfer(mask_logits, scores, size)
        located = (_unpack(bits, size) for bits in packed)
    return [
        object_result(obj_id, size, mask, origin=origin, iou_prediction=iou, object_score_logits=score)
        for obj_id, (origin, mask), (iou, score) in zip(obj_ids, located, scores.tolist(), strict=True)
    ]


def _interpolate(logits: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """``[..., h, w] -> [..., rows, columns]``, the reference's interpolation."""
    flat = logits.reshape(1, -1, *logits.shape[-2:])
    return functional.interpolate(flat, size=(rows, columns), mode="bilinear", align_corners=False).view(
        *logits.shape[:-2], rows, columns
    )


def _crop(logits: torch.Tensor, size: tuple[int, int]) -> _Located:
    """Interpolate what can be object, and no more.

    torch interpolates along each row first and then between rows, and an axis whose length does not change gets the
    weights 1 and 0, so two passes give the bits of one. Between them all columns but the object's are left out, before
    them all rows: what is left out is <= 0, and so is every mean of such values.

    Args:
        logits: ``float32 [h, w]`` on the CPU.
        size: (width, height) of the video frame.
    """
    width, height = size
    low_h, low_w = logits.shape
    positive = logits.numpy() > 0
    rows, columns = np.flatnonzero(positive.any(axis=1)), np.flatnonzero(positive.any(axis=0))
    if rows.size == 0:
        return (0, 0), np.zeros((0, 0), dtype=np.bool_)
    y0, y1 = _reach(int(rows[0]), int(rows[-1]), low_h, height)
    x0, x1 = _reach(int(columns[0]), int(columns[-1]), low_w, width)
    if 2 * (y1 - y0) * (x1 - x0) > height * width:  # one pass over everything is faster
        return (x0, y0), (_interpolate(logits, height, width)[y0:y1, x0:x1] > 0).numpy()
    first, last = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, low_h)
    wide = torch.zeros(low_h, x1 - x0)
    wide[first:last] = _interpolate(logits[first:last], last - first, width)[:, x0:x1]
    tall = _interpolate(wide, height, x1 - x0)
    return (x0, y0), (tall[y0:y1] > 0).numpy()


def _reach(first: int, last: int, low: int, high: int) -> tuple[int, int]:
    """Range of output pixels that the inputs ``first..last`` of ``low`` can touch, at most a pixel too wide."""
    scale = high / low
    start = math.floor((first - 0.5) * scale - 0.5)
    end = math.ceil((last + 1.5) * scale - 0.5) + 1
    return max(start, 0), min(end, high)


def _transfer(
    mask_logits: torch.Tensor, scores: torch.Tensor, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], torch.Tensor]:
    """Interpolate, threshold and pack to bits where the logits are; bring masks and scores over in one piece.

    Returns:
        ``uint8 [N, height, ceil(width / 8)]``, first pixel in the highest bit, and ``float32 [N, 2]`` on the CPU.
    """
    width, height = size
    row_bytes = (width + 7) // 8
    weights = _bit_weights(mask_logits.device)
    packed = []
    for start in range(0, len(mask_logits), _LANES_AT_ONCE):
        mask = _interpolate(mask_logits[start : start + _LANES_AT_ONCE].float(), height, width) > 0
        bits = functional.pad(mask.to(torch.uint8), (0, 8 * row_bytes - width)).view(-1, height, row_bytes, 8)
        packed.append((bits * weights).sum(dim=-1, dtype=torch.uint8).view(-1, height * row_bytes))
    everything = torch.cat((torch.cat(packed), scores.contiguous().view(torch.uint8)), dim=1).cpu()
    masks, tail = everything[:, :-8], everything[:, -8:]
    aligned = tail.reshape(-1).clone()  # a view as float32 needs an offset of whole words
    return masks.numpy().reshape(-1, height, row_bytes), aligned.view(torch.float32).view(-1, 2)


@functools.cache  # a constant that is uploaded makes the host wait for all that was queued before
def _bit_weights(device: torch.device) -> torch.Tensor:
    return torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=device)


def _unpack(bits: NDArray[np.uint8], size: tuple[int, int]) -> _Located:
    """Cut out the bytes that hold the object before they are unpacked.

    Args:
        bits: ``uint8 [height, ceil(width / 8)]``.
        size: (width, height) of the video frame.
    """
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if rows.size == 0:
        return (0, 0), np.zeros((0, 0), dtype=np.bool_)
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    b0, b1 = int(columns[0]), int(columns[-1]) + 1
    count = min(8 * b1, size[0]) - 8 * b0
    return (8 * b0, y0), np.unpackbits(bits[y0:y1, b0:b1], axis=1, count=count).view(np.bool_)
