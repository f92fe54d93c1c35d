"""Which of torch's attention kernels runs the tracker's attention on a CUDA device: measured at the start, then pinned.

Left to itself torch chooses by rules, anew at each call, and where that is cuDNN it plans anew for every new shape.
Which kernel is fastest for one head of 256 channels over 30,000 keys depends on the GPU and on torch's version, so it
is tried (https://docs.pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html).
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

CANDIDATES: Final = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
_TRIES: Final = 10


class AttentionBackends(NamedTuple):
    """Kernels that were chosen.

    Attributes:
        full: Where every token counts.
        masked: Where some do not; fewer kernels can do that.
    """

    full: SDPBackend
    masked: SDPBackend


def choose_backends(
    queries: int, keys: int, channels: int, dtype: torch.dtype, device: torch.device
) -> AttentionBackends:
    """Measure attention of one lane, one head, with and without a mask. Syncs; takes some tens of milliseconds.

    Args:
        queries: Tokens of a frame.
        keys: Tokens of a full memory.
        channels: Of both, and of the values.
        dtype: What the attention computes in.
        device: Where.
    """
    q = torch.randn(1, 1, queries, channels, dtype=dtype, device=device)
    k = torch.randn(1, 1, keys, channels, dtype=dtype, device=device)
    mask = torch.zeros(1, 1, 1, keys, dtype=dtype, device=device)
    return AttentionBackends(fastest(CANDIDATES, q, k, None), fastest(CANDIDATES, q, k, mask))


def fastest(candidates: Sequence[SDPBackend], q: Tensor, k: Tensor, mask: Tensor | None) -> SDPBackend:
    """Return the kernel with the least median time; those that cannot do it are passed over.

    Args:
        candidates: To be tried; ``MATH`` can do everything.
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
    return min(times, key=lambda backend: times[backend])


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
