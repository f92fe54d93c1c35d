"""Which of torch's attention kernels the tracker takes on a CUDA device: measured at the start, then kept.

Left to itself torch chooses by rules, anew at each call, and where that is cuDNN it plans anew for every new shape.
Which kernel is fastest for one head of 256 channels over 30,000 keys depends on the GPU and on torch's version, so it
is tried (https://docs.pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html).
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
"""Candidates where every shape comes up at warm-up."""

ANY_SHAPES: Final = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
"""Candidates where shapes come as they come: cuDNN would plan in the middle of a stream."""

_TRIES: Final = 10

_CLEARLY: Final = 0.9
"""A kernel is taken in place of one that comes before it if it takes less than this share of its time."""

_TOLERANCE: Final = 0.05
"""Of sums of weighted normal values, whose spread is 1, in bfloat16."""

_SLOWEST: Final = {SDPBackend.MATH: math.inf}
"""What can do everything; not worth a try, since it holds all scores at once."""

Kernel = TypeVar("Kernel")


AsRun = Callable[[Callable[[], object]], Callable[[], object]]
"""Makes of a function what is timed in its place."""


class Kernels(NamedTuple):
    """What was chosen.

    Attributes:
        in_order: For :func:`torch.nn.attention.sdpa_kernel` with ``set_priority``: the fastest without a mask, the
            fastest with one (some kernels take none) or what ranges need, then what can do everything.
        ranges: The kernel for memory of which a part counts; None if a mask is faster.
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
    """Measure attention of one lane, one head: to all keys, and to some of them. Syncs; takes a second or two.

    Args:
        candidates: Kernels to try.
        range_candidates: Kernels to try in place of a mask.
        queries: Tokens of a frame.
        keys: Tokens of a full memory.
        masked_keys: Tokens of a memory of which some do not count; as many as ``keys`` do.
        channels: Of all of them.
        dtype: What the attention computes in.
        device: Where.
        as_run: How they will run: host time counts where each operation is launched, and not where a graph is replayed.
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
        log.info("attention: %s, to a part of the keys %s", full.name.lower(), kernel)
        partly = SDPBackend.FLASH_ATTENTION
    else:
        kernel, partly = None, _fastest(with_mask or _SLOWEST)
        log.info("attention: %s, with a mask %s", full.name.lower(), partly.name.lower())
    in_order = dict.fromkeys((full, partly, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH))
    return Kernels(list(in_order), kernel)


def _fastest(times: dict[Kernel, float]) -> Kernel:
    """The first that none is clearly faster than: what is compiled depends on it, and is not to change with noise."""
    found, *others = times
    for other in others:
        if times[other] < _CLEARLY * times[found]:
            found = other
    return found


def _agrees(kernel: AttendRanges, q: Tensor, k: Tensor, ranges: KeyRanges) -> bool:
    """Whether a kernel attends to the keys of the range and no others. Speed alone would not say."""
    first, past = int(ranges.starts[0]), int(ranges.starts[0] + ranges.lengths[0])
    edges = [edge for edge in (first - 1, first, past - 1, past) if 0 <= edge < k.shape[1]]
    q = q.clone()
    q[:, : len(edges)] = k[:, edges]  # queries that find the keys on both sides of the range's ends, if they count
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = kernel(q, k, k, ranges).float()
    wanted = attend_ranges_masked(q.float(), k.float(), k.float(), ranges)
    agrees = torch.allclose(found, wanted, atol=_TOLERANCE)
    if not agrees:
        log.warning("attention by %s is off by %g, so it is not used", kernel, (found - wanted).abs().max())
    return agrees


def _seconds(attend: Callable[[], Tensor], backend: SDPBackend, as_run: AsRun, device: torch.device) -> float | None:
    """Median seconds of attention by one of torch's kernels, None if that cannot do it."""
    with warnings.catch_warnings(), sdpa_kernel(backend):
        warnings.simplefilter("ignore")  # torch says at length why a kernel cannot
        try:
            return median_s(as_run(attend), device)
        except (RuntimeError, TypeError):  # TypeError: a torch whose function lacks an argument
            return None


def median_s(function: Callable[[], object], device: torch.device) -> float:
    """Median of a few runs, the first one apart: it plans. Syncs."""
    found = []
    for _ in range(1 + _TRIES):
        synchronize(device)
        began = time.perf_counter()
        function()
        synchronize(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def synchronize(device: torch.device) -> None:
    """Wait for a CUDA device; a CPU has nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
