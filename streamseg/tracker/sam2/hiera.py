"""sam2's image trunk Hiera rewritten for speed: the same function of the same weights, for pictures of one size.

The original is ``sam2/modeling/backbones/hieradet.py``. Its windows of 14 and 7 tokens do not divide the feature maps
of 1,024, 512 or 256 pixels, so it pads them with zeros and computes on the padding too: at 256 pixels two of three
tokens are padding. Here,

- tokens are projected before they are padded: a zero projects to the bias;
- on a CPU, nothing is padded: the keys of a window's padding are all equal, and so are their values, so one key
  represents all of them, with the logarithm of their number added to its score. This splits the windows into up to four
  batches with separate kernels, so on CUDA windows are padded (whether that is faster was not measured);
- the output is projected after the padding is removed;
- the position embedding is interpolated once, not per picture;
- between blocks a map is stored as rows of tokens, ``[B, h * w, C]``: torch's compiler treats ``[B, h, w, C]`` as a
  picture, chooses the layout of pictures, and reads it scalar by scalar in every norm.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import cast

import torch
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock
from torch import Tensor, nn
from torch.nn import functional

from streamseg.errors import ModelError

_WHOLE_SCORES_LIMIT = 256
"""Maximum number of keys of a window for which all attention weights are held at once on a CPU."""


class FixedHiera(nn.Module):
    """The trunk.

    Args:
        trunk: The model's trunk; its weights are shared.
        image_size: Side of the pictures in pixels.

    Raises:
        ModelError: The trunk is not of a kind that sam2 publishes.
    """

    pos_embed: Tensor

    def __init__(self, trunk: Hiera, image_size: int) -> None:
        super().__init__()
        self._patch_embed = trunk.patch_embed
        self._stage_ends = frozenset(trunk.stage_ends)
        side = image_size // 4  # the stride of the patches
        embedding = trunk._get_pos_embed((side, side)).detach().flatten(1, 2).contiguous()
        self.register_buffer("pos_embed", embedding, persistent=False)
        blocks = []
        for block in trunk.blocks:
            blocks.append(_Block(block, side))
            side = blocks[-1].out_side
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return feature maps ``[B, C, h, w]`` of strides 4, 8, 16 and 32 of ``[B, 3, image_size, image_size]``."""
        # The convolution's result has channels outermost, and sums would keep that layout.
        hidden = self._patch_embed(images).flatten(1, 2).contiguous() + self.pos_embed
        found = []
        for number, block in enumerate(self._blocks):
            hidden = block(hidden)
            if number in self._stage_ends:
                side = cast(_Block, block).out_side
                found.append(hidden.unflatten(1, (side, side)).permute(0, 3, 1, 2))
        return found


class _Block(nn.Module):
    """One block: attention in windows or over the whole map, two linear layers. A new stage pools the queries.

    Args:
        block: The model's block; its weights are shared.
        side: Side of the incoming maps in tokens.

    Raises:
        ModelError: The window is not a multiple of the pooling stride.
    """

    def __init__(self, block: MultiScaleBlock, side: int) -> None:
        super().__init__()
        self._source = block
        self._side = side
        self._window = int(block.window_size) or side  # without windows: one over the whole map
        self._heads = int(block.attn.num_heads)
        self._stride = int(block.q_stride[0]) if block.q_stride else 1
        self.out_side = side // self._stride
        if self._window % self._stride:
            raise ModelError(
                f"image_encoder.trunk.window_spec: a window of {self._window} tokens cannot be pooled by "
                f"{self._stride}: expected a multiple of {self._stride}"
            )

    def forward(self, hidden: Tensor) -> Tensor:
        """``[B, side * side, C]`` -> ``[B, out_side * out_side, C']``."""
        block = self._source
        normed = block.norm1(hidden)
        shortcut = hidden
        if block.dim != block.dim_out:
            shortcut = self._pool(block.proj(normed).unflatten(1, (self._side, self._side))).flatten(1, 2)
        hidden = shortcut + self._attend(normed)
        return hidden + cast(Tensor, block.mlp(block.norm2(hidden)))

    def _pool(self, x: Tensor) -> Tensor:
        """Return the maximum of each ``stride x stride`` block of tokens ``[..., h, w, C]``."""
        if self._stride == 1:
            return x
        step = range(self._stride)
        return reduce(
            torch.maximum, [x[..., row :: self._stride, column :: self._stride, :] for row in step for column in step]
        )

    def _attend(self, x: Tensor) -> Tensor:
        """Attention and its projections: ``[B, side * side, C]`` -> ``[B, out_side * out_side, C']``."""
        attention = self._source.attn
        qkv = attention.qkv(x).unflatten(1, (self._side, self._side))
        window, rest = self._window, self._side % self._window
        if rest and _pads(x.device):
            qkv, rest = _pad(qkv, attention.qkv.bias, window - rest), 0
        whole = qkv.shape[1] - rest
        cuts = [(0, whole, window)] if whole else []  # first token, number of tokens, tokens per window
        cuts += [(whole, rest, rest)] if rest else []
        mixed = [
            [
                self._attend_in_windows(qkv[:, top : top + rows, left : left + columns], tall, wide)
                for left, columns, wide in cuts
            ]
            for top, rows, tall in cuts
        ]
        tokens = _join([_join(part, 2) for part in mixed], 1)[:, : self.out_side, : self.out_side]
        projected: Tensor = attention.proj(tokens.flatten(1, 2))
        return projected

    def _attend_in_windows(self, qkv: Tensor, tall: int, wide: int) -> Tensor:
        """Attention in windows of ``tall * wide`` real tokens; the rest of a window is padding.

        Args:
            qkv: ``[B, rows, columns, 3 * C']``, whole windows.
            tall: Rows of a window.
            wide: Columns of a window.

        Returns:
            ``[B, rows / stride, columns / stride, C']``.
        """
        batch, rows, columns, _ = qkv.shape
        down, across, heads = rows // tall, columns // wide, self._heads
        # [3, B, down, across, heads, tall, wide, C' / heads]: one copy makes windows and heads adjacent.
        parted = qkv.reshape(batch, down, tall, across, wide, 3, heads, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = parted.reshape(3, batch * down * across, heads, tall, wide, -1).unbind()
        q, k, v = self._pool(q).flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3)
        padding = self._window**2 - tall * wide
        if padding:
            _, pad_k, pad_v = self._source.attn.qkv.bias.to(k.dtype).view(3, heads, 1, -1)
            k, v = (torch.cat([x, pad.expand(len(x), -1, -1, -1)], 2) for x, pad in ((k, pad_k), (v, pad_v)))
        mixed = _attention(q, k, v, last_counts=max(padding, 1))
        tall, wide = tall // self._stride, wide // self._stride
        tokens = mixed.view(batch, down, across, heads, tall, wide, -1).permute(0, 1, 4, 2, 5, 3, 6)
        return tokens.reshape(batch, down * tall, across * wide, -1)


def _join(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)  # which would copy


def _pads(device: torch.device) -> bool:
    """Return whether partial windows are padded to full ones."""
    return device.type != "cpu"


def _pad(x: Tensor, value: Tensor, count: int) -> Tensor:
    """Append ``count`` rows and columns of the value ``[C]`` to ``[B, h, w, C]``."""
    value = value.to(x.dtype)
    x = torch.cat([x, value.expand(x.shape[0], x.shape[1], count, -1)], dim=2)
    return torch.cat([x, value.expand(x.shape[0], count, x.shape[2], -1)], dim=1)


def _attention(q: Tensor, k: Tensor, v: Tensor, last_counts: int) -> Tensor:
    """Attend with ``[N, heads, tokens, C]`` each; the last key represents ``last_counts`` equal ones."""
    bias = None
    if last_counts > 1:
        last = torch.full((1,), math.log(last_counts), device=k.device)
        bias = functional.pad(last, (k.shape[2] - 1, 0))
    if q.device.type == "cpu" and k.shape[2] <= _WHOLE_SCORES_LIMIT:
        # torch's CPU kernel is made for long sequences. Two Zen 4 cores, 64 windows of 64 tokens of 96 channels: 0.5
        # instead of 1.1 ms in bfloat16, 0.8 instead of 1.0 ms in float32; 16 of 196: 1.0 and 1.7 instead of 1.8 ms.
        flat_q, flat_k, flat_v = (part.flatten(0, 1) for part in (q, k, v))
        nothing = torch.zeros((), dtype=q.dtype, device=q.device)
        scores = torch.baddbmm(nothing, flat_q, flat_k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
        if bias is not None:
            scores = scores + bias  # in float32, like the softmax
        return torch.bmm(scores.softmax(dim=-1).to(v.dtype), flat_v).view(*q.shape[:3], v.shape[3])
    # The kernel only takes a mask of the queries' type. Windows of published models never get here in bfloat16.
    mask = None if bias is None else bias.to(q.dtype).expand(1, 1, 1, -1)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
