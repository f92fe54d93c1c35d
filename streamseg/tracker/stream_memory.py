"""Converts a SAM 2 model's memory of objects to arrays, and to another size of its input.

Object pointers, scores and what confidence remembers do not depend on the size. Spatial memory is a feature map, which
is scaled like a picture: at half the size, it is nearly the memory that the model would have at that size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from streamseg.tracker.types import StreamMemory

_FEATURES: Final = "features"
_MASKS: Final = "mask"


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array; bfloat16, which numpy lacks, as ``int16``."""
    return np.asarray((tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy())


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Return an array of :func:`to_array` as a tensor."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def for_input(memory: StreamMemory, side: int) -> StreamMemory:
    """Return a stream's memory for a model input of another size.

    Args:
        memory: The exported memory.
        side: Side of the feature map, in cells.
    """
    return StreamMemory(
        memory.frame, {obj_id: _scaled(arrays, side) for obj_id, arrays in memory.objects.items()}, memory.aside
    )


def _scaled(arrays: Mapping[str, NDArray[Any]], side: int) -> dict[str, NDArray[Any]]:
    features = to_tensor(arrays[_FEATURES])
    before = math.isqrt(features.shape[1])
    maps = _resized(features.float().transpose(1, 2).reshape(len(features), -1, before, before), side)
    scaled = dict(arrays)
    scaled[_FEATURES] = to_array(maps.flatten(2).transpose(1, 2).contiguous().to(features.dtype))
    if _MASKS in arrays and arrays[_MASKS].shape[-1] > 1:  # 1: the policy keeps none
        masks = to_tensor(arrays[_MASKS]).float()
        resized = _resized(masks.reshape(-1, 1, *masks.shape[-2:]), 4 * side)
        scaled[_MASKS] = to_array((resized > 0.5).reshape(*masks.shape[:-2], 4 * side, 4 * side))
    return scaled


def _resized(maps: Tensor, side: int) -> Tensor:
    """Return maps ``[N, C, h, w]`` scaled to another side."""
    return functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
