"""Which of torch's attention kernels the tracker takes on a CUDA device: measured at the start, then kept.

Left to itself torch chooses by rules, anew at each call, and where that is cuDNN it plans anew for every new shape.
Which kernel is fastest for one head of 256 channels over 30,000 keys depends on the GPU and on torch's version, so it
is tried (https://docs.pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html).
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

log = logging.getLogger(__name__)

FIXED_SHAPES: Final = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
"""Candidates where every shape comes up at warm-up."""

ANY_SHAPES: Final = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
"""Candidates where shapes come as they come: cuDNN would plan in the middle of a stream."""

_TRIES: Final = 10


def choose_backends(
    candidates: Sequence[SDPBackend],
    *,
    queries: int,
    keys: int,
    masked_keys: int,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[SDPBackend]:
    """Measure attention of one lane, one head, with and without a mask. Syncs; takes some tens of milliseconds.

    Args:
        candidates: Kernels to try.
        queries: Tokens of a frame.
        keys: Tokens of a full memory.
        masked_keys: Tokens of a memory of which some do not count.
        channels: Of all of them.
        dtype: What the attention computes in.
        device: Where.

    Returns:
        For :func:`torch.nn.attention.sdpa_kernel` with ``set_priority``: the fastest without a mask, the fastest with
        one (some kernels take none), then what can do everything.
    """
    q = torch.randn(1, 1, queries, channels, dtype=dtype, device=device)
    k = torch.randn(1, 1, keys, channels, dtype=dtype, device=device)
    masked_k = torch.randn(1, 1, masked_keys, channels, dtype=dtype, device=device)
    mask = torch.zeros(1, 1, 1, masked_keys, dtype=dtype, device=device)
    chosen = (fastest(candidates, q, k, None), fastest(candidates, q, masked_k, mask))
    log.info("attention: %s, with a mask %s", *(backend.name.lower() for backend in chosen))
    return list(dict.fromkeys((*chosen, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)))


def fastest(candidates: Sequence[SDPBackend], q: Tensor, k: Tensor, mask: Tensor | None) -> SDPBackend:
    """Return the kernel with the least median time, ``MATH`` if none of them can do it.

    Args:
        candidates: To be tried. ``MATH`` is not worth it: it holds all scores at once.
        q: ``[B, heads, queries, C]``.
        k: ``[B, heads, keys, C]``, also used as values.
        mask: Added to the scores; None for none.
    """
    times: dict[SDPBackend, float] = {}
    for backend in candidates:
        with warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter("ignore")  # torch says at length why a kernel cannot
            try:
                times[backend] = _median_s(q, k, mask)
            except RuntimeError:
                continue
    return min(times, key=lambda backend: times[backend], default=SDPBackend.MATH)


def _median_s(q: Tensor, k: Tensor, mask: Tensor | None) -> float:
    found = []
    for _ in range(1 + _TRIES):
        _synchronize(q.device)
        began = time.perf_counter()
        scaled_dot_product_attention(q, k, k, mask, scale=1.0)
        _synchronize(q.device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])  # the first one plans


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
