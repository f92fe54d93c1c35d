"""Converts the model's low-res masks to results at video resolution.

The reference (``sam2/sam2_video_predictor.py``, ``_get_orig_video_res_output``) interpolates all logits bilinearly to
the video's size (``align_corners=False``); the object is where they are > 0. The masks here are the same bit for bit,
but on the CPU only the rectangle that can contain the object is interpolated. On a device pixels are counted and packed
to bits there, and one transfer brings the results of all streams of a call to the host.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from streamseg.tracker.measure import PixelCounts, count_pixels, object_result
from streamseg.tracker.types import BoolMask, ObjectResult

_LANES_AT_ONCE: Final = 8
"""Lanes interpolated together on a device: limits the memory to 8 float frames (265 MB at 4K)."""

_SMALL_PX: Final = 128
"""Frames with a side of at most this length are interpolated in one pass. For outputs whose height and width add up to
at most 128, torch has another kernel that rounds differently, so neither pass may be that small."""

Size = tuple[int, int]
"""(width, height) of a video frame in pixels."""


class LowRes(NamedTuple):
    """Objects of one stream on one frame, as returned by the model.

    Attributes:
        obj_ids: The objects' ids, N of them.
        mask_logits: ``float [N, h, w]``; object where > 0. Not meaningful near NaN and infinities.
        iou_prediction: ``float [N]``.
        object_score_logits: ``float [N]``; > 0: visible.
        size: Size of the video frame.
        confidence: ``float [N]``, 0..1; None if the model has none.
    """

    obj_ids: Sequence[int]
    mask_logits: Tensor
    iou_prediction: Tensor
    object_score_logits: Tensor
    size: Size
    confidence: Tensor | None = None

    @property
    def scores(self) -> Tensor:
        """``float32 [N, 3]``: IoU, object score and confidence (NaN if there is none).

        The IoU is also NaN if a value of the mask is not finite, since the mask is then meaningless.
        """
        iou = self.iou_prediction.reshape(-1).float()
        if iou.numel():
            iou = iou + 0.0 * self.mask_logits.flatten(1).sum(1, dtype=torch.float32)
        confidence = torch.full_like(iou, torch.nan) if self.confidence is None else self.confidence.reshape(-1).float()
        return torch.stack((iou, self.object_score_logits.reshape(-1).float(), confidence), dim=1)


def to_results(streams: Sequence[LowRes]) -> list[list[ObjectResult]]:
    """Convert the masks of several streams' objects to results, stream by stream.

    Syncs once on a device: one transfer for all streams.
    """
    if all(stream.mask_logits.device.type == "cpu" for stream in streams):
        return [_on_cpu(stream) for stream in streams]
    return _on_device(streams)


def _on_cpu(stream: LowRes) -> list[ObjectResult]:
    return results_of(stream, (_crop(logits, stream.size) for logits in stream.mask_logits.float()))


def results_of(stream: LowRes, crops: Iterable[tuple[tuple[int, int], BoolMask]]) -> list[ObjectResult]:
    """Return objects with masks at video size, each as (x, y) of its first pixel and ``bool [rows, columns]``."""
    return [
        object_result(obj_id, stream.size, count_pixels(mask, origin), **_named(scores))
        for obj_id, (origin, mask), scores in zip(stream.obj_ids, crops, stream.scores.tolist(), strict=True)
    ]


def _on_device(streams: Sequence[LowRes]) -> list[list[ObjectResult]]:
    by_size: dict[Size, list[LowRes]] = {}
    for stream in streams:
        if len(stream.obj_ids) != len(stream.mask_logits):
            raise ValueError(f"there are {len(stream.obj_ids)} objects but {len(stream.mask_logits)} masks")
        if stream.obj_ids:
            by_size.setdefault(stream.size, []).append(stream)
    if not by_size:
        return [[] for _ in streams]
    packed = [
        _pack(torch.cat([stream.mask_logits for stream in held]), torch.cat([stream.scores for stream in held]), size)
        for size, held in by_size.items()
    ]
    lanes = {
        size: zip(*(values.numpy() for values in part), strict=True)
        for size, part in zip(by_size, _fetch(packed), strict=True)
    }
    return [
        [_measured(obj_id, stream.size, *next(lanes[stream.size])) for obj_id in stream.obj_ids] for stream in streams
    ]


def _interpolate(logits: Tensor, rows: int, columns: int) -> Tensor:
    """Interpolate ``[..., h, w]`` to ``[..., rows, columns]`` like the reference."""
    flat = logits.reshape(1, -1, *logits.shape[-2:])
    return functional.interpolate(flat, size=(rows, columns), mode="bilinear", align_corners=False).view(
        *logits.shape[:-2], rows, columns
    )


def _crop(logits: Tensor, size: Size) -> tuple[tuple[int, int], BoolMask]:
    """Return (x, y) of a mask's first pixel, and ``bool [rows, columns]`` that contains the whole object.

    Args:
        logits: ``float32 [h, w]`` on the CPU.
        size: Size of the video frame.
    """
    origin, values = interpolate_where(logits, size, 0.0)
    return origin, (values > 0).numpy()


def interpolate_where(logits: Tensor, size: Size, level: float) -> tuple[tuple[int, int], Tensor]:
    """Interpolate only the part that can be above a level.

    torch interpolates along each row first and then between rows. An axis whose length does not change gets the weights
    1 and 0, so two passes give the same bits as one. Rows that are not above the level are skipped in the first pass,
    columns in the second: their values are <= ``level``, and so are all means of them.

    Args:
        logits: ``float32 [h, w]`` on the CPU.
        size: (width, height) of the result's frame.
        level: The level.

    Returns:
        (x, y) of the first value, and ``float32 [rows, columns]`` that contains everything above the level. Values that
        are not above it may differ from the interpolated ones.
    """
    width, height = size
    low_h, low_w = logits.shape
    above = logits.numpy() > level
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if rows.size == 0:
        return (0, 0), torch.zeros(0, 0)
    y0, y1 = _reach(int(rows[0]), int(rows[-1]), low_h, height)
    x0, x1 = _reach(int(columns[0]), int(columns[-1]), low_w, width)
    if 2 * (y1 - y0) * (x1 - x0) > height * width or min(size) <= _SMALL_PX:  # one pass over everything
        return (x0, y0), _interpolate(logits, height, width)[y0:y1, x0:x1]
    first, last = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, low_h)
    wide = torch.full((low_h, x1 - x0), level - 1.0)
    wide[first:last] = _interpolate(logits[first:last], last - first, width)[:, x0:x1]
    tall = _interpolate(wide, height, x1 - x0)
    return (x0, y0), tall[y0:y1]


def _reach(first: int, last: int, low: int, high: int) -> tuple[int, int]:
    """Return the range of output pixels that inputs ``first..last`` of ``low`` can affect, or one pixel more."""
    scale = high / low
    start = math.floor((first - 0.5) * scale - 0.5)
    end = math.ceil((last + 1.5) * scale - 0.5) + 1
    return max(start, 0), min(end, high)


class _Packed(NamedTuple):
    """Lanes of one video size: ``[N, ...]``.

    Attributes:
        scores: ``float32 [N, 3]``.
        in_column: ``int32 [N, width]``; the object's pixels per column.
        in_row: ``int32 [N, height]``; per row.
        bits: ``uint8 [N, height, ceil(width / 8)]``, first pixel in the most significant bit.
    """

    scores: Tensor
    in_column: Tensor
    in_row: Tensor
    bits: Tensor


def _pack(mask_logits: Tensor, scores: Tensor, size: Size) -> _Packed:
    """Interpolate, threshold, count and pack to bits on the logits' device."""
    width, height = size
    row_bytes = (width + 7) // 8
    weights = _bit_weights(mask_logits.device)
    parts = []
    for start in range(0, len(mask_logits), _LANES_AT_ONCE):
        mask = _interpolate(mask_logits[start : start + _LANES_AT_ONCE].float(), height, width) > 0
        bits = functional.pad(mask.to(torch.uint8), (0, 8 * row_bytes - width)).view(-1, height, row_bytes, 8)
        parts.append(
            (
                mask.sum(dim=1, dtype=torch.int32),
                mask.sum(dim=2, dtype=torch.int32),
                (bits * weights).sum(dim=-1, dtype=torch.uint8),
            )
        )
    return _Packed(scores, *(torch.cat(values) for values in zip(*parts, strict=True)))


def _fetch(packed: Sequence[_Packed]) -> list[_Packed]:
    """Copy everything to the host in one transfer. Syncs."""
    # Large elements come first, so that each tensor starts at a multiple of its element size.
    places = sorted(
        ((index, field) for index in range(len(packed)) for field in _Packed._fields),
        key=lambda place: -getattr(packed[place[0]], place[1]).element_size(),
    )
    tensors = [getattr(packed[index], field) for index, field in places]
    everything = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])
    if everything.device.type == "cuda":
        # Pinned, or the driver would copy it twice. Torch caches pinned memory.
        host = torch.empty(everything.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(everything, non_blocking=True)
        torch.cuda.current_stream(everything.device).synchronize()
        everything = host
    found: list[dict[str, Tensor]] = [{} for _ in packed]
    start = 0
    for (index, field), tensor in zip(places, tensors, strict=True):
        found[index][field] = everything[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        start += tensor.nbytes
    return [_Packed(**fields) for fields in found]


@functools.cache  # uploading a constant makes the host wait for all queued work
def _bit_weights(device: torch.device) -> Tensor:
    return torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=device)


def _measured(
    obj_id: int,
    size: Size,
    scores: NDArray[np.float32],
    in_column: NDArray[np.int32],
    in_row: NDArray[np.int32],
    bits: NDArray[np.uint8],
) -> ObjectResult:
    """Return the result of one lane of :class:`_Packed`."""

    def crop(left: int, top: int, right: int, bottom: int) -> BoolMask:
        """Unpack only the bytes that contain the object."""
        first = left // 8
        mask = np.unpackbits(bits[top:bottom, first : (right + 7) // 8], axis=1)
        return np.ascontiguousarray(mask[:, left - 8 * first : right - 8 * first]).view(np.bool_)

    part = PixelCounts(in_column.astype(np.int64), in_row.astype(np.int64), crop)
    return object_result(obj_id, size, part, **_named(scores.tolist()))


class _Scores(TypedDict):
    iou_prediction: float
    object_score_logits: float
    confidence: float | None


def _named(scores: Sequence[float]) -> _Scores:
    """Name a row of :attr:`LowRes.scores`."""
    iou, score, confidence = scores
    return {
        "iou_prediction": iou,
        "object_score_logits": score,
        "confidence": None if math.isnan(confidence) else confidence,
    }
