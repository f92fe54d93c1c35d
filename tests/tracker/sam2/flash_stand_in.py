"""Stands in for torch's flash kernel on a CPU, below all of torch's own Python: ``aten::_flash_attention_forward``.

It asks for what ``mha_varlen_fwd`` asks for (torch's ``flash_api.cpp``), and reads and writes what the kernel does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from streamseg.tracker import torch_private


@contextmanager
def flash_on_cpu() -> Iterator[list[dict[str, Any]]]:
    """Yield the arguments of each call. Skips the test if torch lacks such attention."""
    if not torch_private.HAS_RANGED_ATTENTION:
        pytest.skip(f"torch {torch.__version__} has no attention to ranges of keys")
    calls: list[dict[str, Any]] = []

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cum_seq_q: Tensor,
        cum_seq_k: Tensor,
        max_q: int,
        max_k: int,
        dropout_p: float,
        is_causal: bool,
        return_debug_mask: bool,
        *,
        scale: float,
        window_size_left: int,
        window_size_right: int,
        seqused_k: Tensor,
        alibi_slopes: Tensor | None = None,
        block_table: Tensor | None = None,
        num_splits: int | None = None,
    ) -> tuple[Tensor, ...]:
        calls.append({"q": query, "cum_seq_q": cum_seq_q, "cum_seq_k": cum_seq_k, "seqused_k": seqused_k})
        sequences = len(cum_seq_q) - 1
        assert all(x.dtype == torch.int32 and x.is_contiguous() for x in (cum_seq_q, cum_seq_k, seqused_k))
        assert (cum_seq_k.shape, seqused_k.shape) == ((sequences + 1,), (sequences,))
        assert (query.shape[1], key.shape[1:], value.shape) == (1, query.shape[1:], key.shape)
        assert query.shape[2] % 8 == 0
        assert query.shape[2] <= 256
        assert all(x.stride(-1) == 1 for x in (query, key, value))
        assert (dropout_p, is_causal, return_debug_mask, alibi_slopes, block_table) == (0, False, False, None, None)
        assert (window_size_left, window_size_right) == (-1, -1)
        assert num_splits == 1
        out = torch.full_like(query, torch.nan)
        log_sums = torch.full((1, len(query)), torch.nan)
        ends = cum_seq_q.tolist()
        for number, (first, last) in enumerate(itertools.pairwise(ends)):
            assert last - first <= max_q
            begin, count = int(cum_seq_k[number]), int(seqused_k[number])
            assert 0 <= begin <= begin + count <= len(key)
            assert count <= max_k
            if count == 0:
                out[first:last], log_sums[:, first:last] = 0, torch.inf
                continue
            scores = scale * query[first:last, 0].float() @ key[begin : begin + count, 0].float().T
            log_sums[0, first:last] = scores.logsumexp(dim=1)
            out[first:last, 0] = (scores.softmax(dim=1) @ value[begin : begin + count, 0].float()).to(out.dtype)
        nothing = torch.zeros(2, dtype=torch.uint64)
        return out, log_sums, nothing, nothing.clone(), query.new_empty(0)

    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("_flash_attention_forward", forward, "CPU")
        yield calls
