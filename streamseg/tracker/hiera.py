"""sam2's image trunk Hiera rewritten for speed: the same function of the same weights, for pictures of one size.

``sam2/modeling/backbones/hieradet.py`` has the original. Its windows of 14 and 7 tokens do not divide the feature maps
of 1,024, 512 or 256 pixels, so it pads them with zeros, and projects and multiplies the padding too: at 256 pixels two
tokens of three are padding. Here,

- tokens are projected before they are padded: what a zero projects to is the bias;
- the output is projected after the padding is cut off;
- the position embedding is interpolated once, not for each picture.
"""

from __future__ import annotations

from functools import reduce
from typing import cast

import torch
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock
from torch import Tensor, nn
from torch.nn import functional

_WHOLE_SCORES_LIMIT = 256
"""Most keys of a window whose attention weights are held whole on a CPU."""


class FixedHiera(nn.Module):
    """The trunk.

    Args:
        trunk: The model's own; its weights are shared.
        image_size: Side of the pictures in pixels.
    """

    pos_embed: Tensor

    def __init__(self, trunk: Hiera, image_size: int) -> None:
        super().__init__()
        self._patch_embed = trunk.patch_embed
        self._blocks = nn.ModuleList(_Block(block) for block in trunk.blocks)
        self._stage_ends = frozenset(trunk.stage_ends)
        side = image_size // 4  # the stride of the patches
        self.register_buffer("pos_embed", trunk._get_pos_embed((side, side)).detach().contiguous(), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, 3, image_size, image_size]`` -> ``[B, C, h, w]`` of strides 4, 8, 16 and 32."""
        hidden = self._patch_embed(images) + self.pos_embed
        found = []
        for number, block in enumerate(self._blocks):
            hidden = block(hidden)
            if number in self._stage_ends:
                found.append(hidden.permute(0, 3, 1, 2))
        return found


class _Block(nn.Module):
    """One block: attention in windows or over everything, two linear layers. At a new stage queries are pooled."""

    def __init__(self, block: MultiScaleBlock) -> None:
        super().__init__()
        self._source = block
        self._window = int(block.window_size)
        self._heads = int(block.attn.num_heads)
        self._stride = int(block.q_stride[0]) if block.q_stride else 1

    def forward(self, hidden: Tensor) -> Tensor:
        """``[B, h, w, C]`` -> ``[B, h / stride, w / stride, C']``."""
        block = self._source
        normed = block.norm1(hidden)
        shortcut = hidden if block.dim == block.dim_out else self._pool(block.proj(normed))
        hidden = shortcut + self._attend(normed, shortcut.shape[1], shortcut.shape[2])
        return hidden + cast(Tensor, block.mlp(block.norm2(hidden)))

    def _pool(self, x: Tensor) -> Tensor:
        """Greatest of each ``stride x stride`` of tokens ``[..., h, w, C]``."""
        if self._stride == 1:
            return x
        step = range(self._stride)
        return reduce(
            torch.maximum, [x[..., row :: self._stride, column :: self._stride, :] for row in step for column in step]
        )

    def _attend(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Attention and its projections: ``[B, h, w, C]`` -> ``[B, rows, columns, C']``."""
        attention = self._source.attn
        batch, height, width, _ = x.shape
        size = self._window or height  # without windows, one that holds the whole map, which is square
        padded = _pad(attention.qkv(x), attention.qkv.bias, -height % size, -width % size)
        down, across = padded.shape[1] // size, padded.shape[2] // size
        # [3, B, down, across, heads, size, size, C' / heads]: windows and heads come to lie together in one copy.
        parted = padded.view(batch, down, size, across, size, 3, self._heads, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = parted.reshape(3, batch * down * across, self._heads, size, size, -1).unbind()
        mixed = _attention(self._pool(q).flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3))
        size //= self._stride
        tokens = mixed.view(batch, down, across, self._heads, size, size, -1).permute(0, 1, 4, 2, 5, 3, 6)
        cut = tokens.reshape(batch, down * size, across * size, -1)[:, :rows, :columns]
        projected: Tensor = attention.proj(cut.contiguous())  # else torch makes it a batched product, and is slower
        return projected


def _pad(x: Tensor, value: Tensor, down: int, right: int) -> Tensor:
    """Add rows and columns of one value ``[C]`` to ``[B, h, w, C]``."""
    value = value.to(x.dtype)
    if right:
        x = torch.cat([x, value.expand(x.shape[0], x.shape[1], right, -1)], dim=2)
    return torch.cat([x, value.expand(x.shape[0], down, x.shape[2], -1)], dim=1) if down else x


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``[N, heads, tokens, C]`` of each -> ``[N, heads, queries, C]``."""
    if q.device.type == "cpu" and k.shape[2] <= _WHOLE_SCORES_LIMIT:
        # torch's CPU kernel is made for long sequences. Two Zen 4 cores, 64 windows of 64 tokens of 96 channels: 0.5 in
        # place of 1.1 ms in bfloat16, 0.8 in place of 1.0 ms in float32; 16 of 196: 1.0 and 1.7 in place of 1.8 ms.
        flat_q, flat_k, flat_v = (part.flatten(0, 1) for part in (q, k, v))
        nothing = torch.zeros((), dtype=q.dtype, device=q.device)
        scores = torch.baddbmm(nothing, flat_q, flat_k.mT, beta=0, alpha=q.shape[-1] ** -0.5)
        return torch.bmm(scores.softmax(dim=-1).to(v.dtype), flat_v).view(*q.shape[:3], v.shape[3])
    return functional.scaled_dot_product_attention(q, k, v)
