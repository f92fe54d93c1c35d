"""Attention to one range of each lane's keys, with its start and length in tensors on the device.

CUDA's flash kernels take no mask, but they take ranges: torch's attention for sequences of different lengths reads the
start and length of each sequence from the device (``torch.nn.attention.varlen``). So nothing is read back to the host,
and one recorded graph works for memory filled to any degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from streamseg.tracker import torch_private


class KeyRanges(NamedTuple):
    """The valid keys: one range per lane, at least one key long.

    Attributes:
        starts: ``[B]`` int32; index of the first valid key within the lane.
        lengths: ``[B]`` int32; number of valid keys.
    """

    starts: Tensor
    lengths: Tensor


class AttendRanges(Protocol):
    """The kernel: one head; the queries are already scaled."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
        """Attend to the valid keys. Does not sync.

        Args:
            q: ``[B, tokens, C]``.
            k: ``[B, keys, C]``.
            v: ``[B, keys, C]``.
            ranges: Ranges of valid keys.

        Returns:
            ``[B, tokens, C]``.
        """
        ...


def attend_ranges_masked(q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
    """Implement :class:`AttendRanges` with a mask: works everywhere, in every precision, but is not faster."""
    place = torch.arange(k.shape[1], dtype=torch.int32, device=k.device)
    starts, lengths = ranges.starts[:, None], ranges.lengths[:, None]
    counts = (place >= starts) & (place < starts + lengths)
    return functional.scaled_dot_product_attention(q, k, v, counts[:, None], scale=1.0)


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """Implement :class:`AttendRanges` with torch's flash kernel.

    Needs CUDA, float16 or bfloat16, and C a multiple of 8 up to 256.

    According to the sources of FlashAttention-2, which torch 2.15 ships: lane ``b``'s keys begin at row
    ``cu_seqlens_k[b]``, which may be any row, and ``seqused_k[b]`` of them count; the start of the next lane is not
    used then (``BlockInfo`` in flash-attention's ``csrc/flash_attn/src/block_info.h``). Both are int32, contiguous, on
    the device, with ``lanes + 1`` and ``lanes`` entries (``mha_varlen_fwd`` in torch's
    ``aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp``). Keys and values outside the range are not
    read, so they may be NaN. A range without keys gives output 0 and, wrongly, log-sum +inf (``flash_fwd_kernel.h``).

    This kernel does not split the keys of a lane over the GPU, unlike the one behind ``scaled_dot_product_attention``,
    and 1,024 queries of one lane fill only an eighth of a large GPU. So a lane can be passed as several, each with a
    part of the keys. The result is exact if each part is weighted by its log-sum
    (https://pytorch.org/blog/flash-decoding/).

    Attributes:
        splits: Parts of the keys for one lane; correspondingly fewer for more lanes.
    """

    splits: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, ranges: KeyRanges) -> Tensor:
        """See :class:`AttendRanges`."""
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
            # The last entry is required but not used.
            cu_seq_k=functional.pad(begins, (0, 1), value=lanes * keys),
            max_q=tokens,
            max_k=keys,
            return_aux=AuxRequest(lse=True),
            scale=1.0,
            seqused_k=lengths.flatten(),
            # No effect on the flash kernel, but it excludes cuDNN, which might be chosen first.
            num_splits=1,
        )
        if parts == 1:
            return found.view(lanes, tokens, channels)
        log_sums = log_sums.view(lanes, parts, tokens).masked_fill((lengths == 0)[..., None], -torch.inf)
        weights = log_sums.softmax(dim=1)[..., None]
        return (weights * found.view(lanes, parts, tokens, channels)).sum(dim=1).to(q.dtype)


def _split(ranges: KeyRanges, parts: int) -> tuple[Tensor, Tensor]:
    """Split each range ``[B]`` into parts of nearly equal length: ``[B, parts]`` starts and lengths.

    If a range is shorter than the number of parts, some parts are empty.
    """
    starts, lengths = ranges.starts[:, None], ranges.lengths[:, None]
    part = torch.arange(parts, dtype=torch.int32, device=starts.device)
    size = (lengths + parts - 1) // parts
    before = torch.minimum(part * size, lengths)
    return starts + before, torch.minimum(lengths - before, size)


VARLEN_KERNELS: Final = (
    tuple(VarlenAttention(splits) for splits in (1, 2, 4, 8, 16)) if torch_private.HAS_RANGED_ATTENTION else ()
)
"""Candidates on a CUDA device; none if torch lacks the kernel."""

VARLEN_DTYPES: Final = (torch.float16, torch.bfloat16)
"""Precisions supported by them."""
