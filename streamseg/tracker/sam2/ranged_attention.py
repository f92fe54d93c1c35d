"""Attention to one range of each lane's keys, which begins and ends where a tensor on the device says.

A mask keeps CUDA's flash kernels away, a range does not: torch's attention for sequences of different lengths takes
where each begins and how long it is from the device (``torch.nn.attention.varlen``). So nothing is read back to the
host, and one recorded graph serves however much of a memory is filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class KeyRanges(NamedTuple):
    """Which keys count: one range of each lane's, at least one key long.

    Attributes:
        starts: ``[B]`` int32; the first key that counts, of the lane's own.
        lengths: ``[B]`` int32; how many count.
    """

    starts: Tensor
    lengths: Tensor


class AttendRanges(Protocol):
    """The kernel: one head, the scale is part of the queries. What tests put a plain one in the place of."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
        """Attend to the keys that count. Does not sync.

        Args:
            q: ``[B, tokens, C]``.
            k: ``[B, keys, C]``.
            v: ``[B, keys, C]``.
            ranges: Of the keys.

        Returns:
            ``[B, tokens, C]``.
        """
        ...


def attend_ranges_masked(q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
    """As :class:`AttendRanges` says, with a mask: runs everywhere, in every precision, and gains nothing."""
    place = torch.arange(k.shape[1], dtype=torch.int32, device=k.device)
    starts, lengths = ranges.starts[:, None], ranges.lengths[:, None]
    counts = (place >= starts) & (place < starts + lengths)
    return functional.scaled_dot_product_attention(q, k, v, counts[:, None], scale=1.0)


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """As :class:`AttendRanges` says, by torch's flash kernel. CUDA, float16 or bfloat16, C a multiple of 8 up to 256.

    What the sources say of FlashAttention-2, which is what torch 2.15 ships: lane ``b``'s keys begin at row
    ``cu_seqlens_k[b]``, any row, and ``seqused_k[b]`` of them count; where the next lane begins is not looked at then
    (``BlockInfo`` in flash-attention's ``csrc/flash_attn/src/block_info.h``). Both are int32, contiguous, on the
    device, of ``lanes + 1`` and ``lanes`` entries (``mha_varlen_fwd`` in torch's
    ``aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp``). Keys and values outside are not read, so
    what is there may be NaN; without a key the output is 0 and the logarithm of its weight, wrongly, +inf
    (``flash_fwd_kernel.h``).

    That function cuts no lane's keys into parts that run side by side (the one behind
    ``scaled_dot_product_attention`` does), and 1,024 queries of one lane fill an eighth of a large GPU. So a lane can
    be given as several, each with a part of the keys; softmax over parts is exact if each part's sum is weighted by
    its own (the split of https://pytorch.org/blog/flash-decoding/).

    Attributes:
        splits: Parts of the keys if there is one lane; for more lanes as many less.
    """

    splits: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
        """As :class:`AttendRanges` says."""
        from torch.nn.attention.varlen import AuxRequest, varlen_attn  # loads torch's compiler: seconds

        lanes, tokens, channels = q.shape
        keys = k.shape[1]
        parts = max(1, self.splits // lanes)
        starts, lengths = _split(ranges, parts)
        lane = torch.arange(lanes, dtype=torch.int32, device=q.device)
        begins = (lane[:, None] * keys + starts).flatten()
        queries = q[:, None].expand(-1, parts, -1, -1).reshape(lanes * parts * tokens, 1, channels)
        found, log_sums = varlen_attn(
            queries,
            k.reshape(lanes * keys, 1, channels),
            v.reshape(lanes * keys, 1, channels),
            cu_seq_q=torch.arange(lanes * parts + 1, dtype=torch.int32, device=q.device) * tokens,
            # The last entry is asked for, and not looked at.
            cu_seq_k=functional.pad(begins, (0, 1), value=lanes * keys),
            max_q=tokens,
            max_k=keys,
            return_aux=AuxRequest(lse=True),
            scale=1.0,
            seqused_k=lengths.flatten(),
            # Of no effect on the flash kernel here, and cuDNN, which may come first, is not asked for what has it.
            num_splits=1,
        )
        if parts == 1:
            return found.view(lanes, tokens, channels)
        log_sums = log_sums.view(lanes, parts, tokens).masked_fill((lengths == 0)[..., None], -torch.inf)
        weights = log_sums.softmax(dim=1)[..., None]
        return (weights * found.view(lanes, parts, tokens, channels)).sum(dim=1).to(q.dtype)


def _split(ranges: KeyRanges, parts: int) -> tuple[Tensor, Tensor]:
    """Cut each range ``[B]`` into so many of all but the same length: ``[B, parts]`` starts and lengths.

    A range that is too short has parts without a key.
    """
    starts, lengths = ranges.starts[:, None], ranges.lengths[:, None]
    part = torch.arange(parts, dtype=torch.int32, device=starts.device)
    size = (lengths + parts - 1) // parts
    before = torch.minimum(part * size, lengths)
    return starts + before, torch.minimum(lengths - before, size)


VARLEN_KERNELS: Final = tuple(VarlenAttention(splits) for splits in (1, 2, 4, 8, 16))
"""Candidates on a CUDA device."""

VARLEN_DTYPES: Final = (torch.float16, torch.bfloat16)
"""What they compute in."""
