"""Attention as two matrix products: on a CPU with bfloat16 it trains several times faster than the fused kernel.

torch's flash attention for CPUs converts and splits its operands for long sequences; a frame has 256 cells. For ten
lanes that attend to seven memories, forward and backward take 31 ms instead of 138 ms (two Zen 4 cores, bfloat16).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from sam2.modeling.sam import transformer
from torch import Tensor


def matrix_attention(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0) -> Tensor:
    """Compute ``scaled_dot_product_attention`` in the operands' own precision.

    Args:
        query: ``[B, heads, Q, C]``.
        key: ``[B, heads, K, C]``.
        value: ``[B, heads, K, C]``.
        dropout_p: Must be 0, as in all our configs.
    """
    assert dropout_p == 0.0, dropout_p
    # Autocast would compute the softmax, and keep its result for the backward pass, in float32.
    with torch.autocast(query.device.type, enabled=False):
        value = value.to(query.dtype)
        scores = (query * query.shape[-1] ** -0.5) @ key.to(query.dtype).transpose(-1, -2)
        return scores.softmax(-1) @ value


@contextmanager
def plain_attention() -> Iterator[None]:
    """Let sam2's attention layers compute with :func:`matrix_attention`."""
    fused = transformer.F
    transformer.F = SimpleNamespace(scaled_dot_product_attention=matrix_attention)
    try:
        yield
    finally:
        transformer.F = fused
