"""Chooses the attention kernels on a CUDA device by measurement at startup.

By default torch chooses by rules at each call, and cuDNN makes a plan for every new shape. Which kernel is fastest for
one head of 256 channels over 30,000 keys depends on the GPU and on torch's version, so it is measured
(https://docs.pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html).
"""

from __future__ import annotations

import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from streamseg.tracker.sam2.ranged_attention import AttendRanges, KeyRanges, attend_ranges_masked

log = logging.getLogger(__name__)

FIXED_SHAPES: Final = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
"""Candidates if every shape occurs at warm-up."""

ANY_SHAPES: Final = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
"""Candidates if shapes are not known in advance: cuDNN would plan in the middle of a stream."""

_TRIES: Final = 10

_MIN_GAIN: Final = 0.9
"""A kernel replaces an earlier candidate if it takes less than this share of its time."""

_TOLERANCE: Final = 0.05
"""Absolute tolerance for weighted sums of standard normal values in bfloat16."""

_SLOWEST: Final = {SDPBackend.MATH: math.inf}
"""The fallback that supports everything. Not measured, because it holds all scores in memory at once."""

Kernel = TypeVar("Kernel")


AsRun = Callable[[Callable[[], object]], Callable[[], object]]
"""Turns a function into the one to time instead."""


class Kernels(NamedTuple):
    """The chosen kernels.

    Attributes:
        in_order: For :func:`torch.nn.attention.sdpa_kernel` with ``set_priority``: the fastest without a mask, the
            fastest with one (some kernels take none) or the one that ranges need, then the fallbacks.
        ranges: The kernel for partly filled memory; None if a mask is faster.
    """

    in_order: list[SDPBackend]
    ranges: AttendRanges | None


def choose_backends(
    candidates: Sequence[SDPBackend],
    range_candidates: Sequence[AttendRanges],
    *,
    queries: int,
    keys: int,
    masked_keys: int,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    as_run: AsRun = lambda function: function,
) -> Kernels:
    """Measure single-head attention of one lane, to all keys and to some of them. Syncs; takes a second or two.

    Args:
        candidates: Kernels to try.
        range_candidates: Kernels to try instead of a mask.
        queries: Tokens of a frame.
        keys: Tokens of a full memory.
        masked_keys: Tokens of a partly filled memory; ``keys`` of them are valid.
        channels: Channels of queries, keys and values.
        dtype: Precision of the attention.
        device: The device.
        as_run: How they will run: launching single operations costs host time, replaying a graph does not.
    """
    q = torch.randn(1, queries, channels, dtype=dtype, device=device)
    k = torch.randn(1, masked_keys, channels, dtype=dtype, device=device)
    mask = torch.zeros(1, 1, 1, masked_keys, dtype=dtype, device=device)
    ranges = KeyRanges(
        *(torch.tensor([count], dtype=torch.int32, device=device) for count in (masked_keys - keys, keys))
    )

    def sdpa_times(keys: int, mask: Tensor | None) -> dict[SDPBackend, float]:
        attend = partial(
            scaled_dot_product_attention, q[:, None], k[:, None, :keys], k[:, None, :keys], mask, scale=1.0
        )
        return {
            backend: seconds
            for backend in candidates
            if (seconds := _seconds(attend, backend, as_run, device)) is not None
        }

    full = _fastest(sdpa_times(keys, None) or _SLOWEST)
    with_mask = sdpa_times(masked_keys, mask)
    with_range = {
        kernel: seconds
        for kernel in range_candidates
        if (seconds := _seconds(partial(kernel, q, k, k, ranges), SDPBackend.FLASH_ATTENTION, as_run, device))
        is not None
        and _agrees(kernel, q, k, ranges)
    }
    if with_range and min(with_range.values()) < min(with_mask.values(), default=math.inf):
        kernel = _fastest(with_range)
        log.info("attention: %s; to a part of the keys: %s", full.name.lower(), kernel)
        partly = SDPBackend.FLASH_ATTENTION
    else:
        kernel, partly = None, _fastest(with_mask or _SLOWEST)
        log.info("attention: %s; with a mask: %s", full.name.lower(), partly.name.lower())
    in_order = dict.fromkeys((full, partly, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH))
    return Kernels(list(in_order), kernel)


def _fastest(times: dict[Kernel, float]) -> Kernel:
    """Return the first that no later one clearly beats. Compiled code depends on it, so noise must not change it."""
    found, *others = times
    for other in others:
        if times[other] < _MIN_GAIN * times[found]:
            found = other
    return found


def _agrees(kernel: AttendRanges, q: Tensor, k: Tensor, ranges: KeyRanges) -> bool:
    """Return whether a kernel attends to exactly the keys of the range: fast kernels can be wrong."""
    first, past = int(ranges.starts[0]), int(ranges.starts[0] + ranges.lengths[0])
    edges = [edge for edge in (first - 1, first, past - 1, past) if 0 <= edge < k.shape[1]]
    q = q.clone()
    q[:, : len(edges)] = k[:, edges]  # queries that match the keys on both sides of each end of the range
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = kernel(q, k, k, ranges).float()
    wanted = attend_ranges_masked(q.float(), k.float(), k.float(), ranges)
    agrees = torch.allclose(found, wanted, atol=_TOLERANCE)
    if not agrees:
        log.warning("attention by %s is not used: its error is %g", kernel, (found - wanted).abs().max())
    return agrees


def _seconds(attend: Callable[[], Tensor], backend: SDPBackend, as_run: AsRun, device: torch.device) -> float | None:
    """Return the median seconds of attention with one of torch's kernels; None if it does not support this."""
    with warnings.catch_warnings(), sdpa_kernel(backend):
        warnings.simplefilter("ignore")  # torch explains at length why a kernel is unsupported
        try:
            return median_s(as_run(attend), device)
        except (RuntimeError, TypeError, ImportError):  # this torch lacks the function, or an argument of it
            return None


def median_s(function: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of a few runs, without the first one, which plans. Syncs."""
    found = []
    for _ in range(1 + _TRIES):
        synchronize(device)
        began = time.perf_counter()
        function()
        synchronize(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def synchronize(device: torch.device) -> None:
    """Wait for a CUDA device; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
