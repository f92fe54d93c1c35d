"""Tracks frames from memory one by one and times each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamseg.tracker.sam2.attention_backend import synchronize


def timed(
    track: Callable[[Tensor], Tensor], frames: Tensor, numbers: Sequence[int]
) -> tuple[list[Tensor], list[float]]:
    """Track frames back and forth over the clip; time each in seconds. Syncs: before and after each frame."""
    outputs, times = [], []
    period = max(2 * len(frames) - 2, 1)
    for number in numbers:
        place = number % period
        frame = frames[min(place, period - place)]
        synchronize(frames.device)
        began = time.perf_counter()
        outputs.append(track(frame))
        synchronize(frames.device)
        times.append(time.perf_counter() - began)
    return outputs, times


def prompt_mask(index: int) -> Tensor:
    """Return bool ``[64, 64]``: one cell of a 4 x 4 grid for object ``index``, at most 16 of them."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    row, column = divmod(5 * index % 16, 4)
    mask[16 * row + 2 : 16 * row + 14, 16 * column + 2 : 16 * column + 14] = True
    return mask
