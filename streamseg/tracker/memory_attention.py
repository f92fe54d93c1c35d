"""Memory attention over sam2's own layers, with fixed shapes and a real-valued rotary encoding.

The layers and their weights are sam2's (``sam2/modeling/memory_attention.py``); what is ours is the glue between them:
keys carry their positions in fixed buffers, complex numbers are gone, and slots that hold nothing are masked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn
from torch.nn import functional


class MemoryTokens(NamedTuple):
    """What the present frame attends to.

    Attributes:
        spatial: ``[B, N, tokens, memory_dim]``; rotated by their place in the feature map.
        spatial_pos: ``[N, tokens, memory_dim]``; added to the keys.
        pointers: ``[B, Q, memory_dim]``; have no place, so they are not rotated.
        pointers_pos: ``[B, Q, memory_dim]``.
        mask: ``[B, 1, 1, N * tokens + Q]`` bool, True where a token counts; None if all do. At least one must.
    """

    spatial: Tensor
    spatial_pos: Tensor
    pointers: Tensor
    pointers_pos: Tensor
    mask: Tensor | None


class FixedMemoryAttention(nn.Module):
    """sam2's memory attention, over tokens of fixed number.

    Args:
        modules: The model's own layers.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, modules: MemoryAttention) -> None:
        super().__init__()
        self.modules_of_model = modules
        # [tokens, head dim / 2]; the reference keeps them as one complex tensor (position_encoding.compute_axial_cis).
        rotation = modules.layers[0].cross_attn_image.freqs_cis
        self.register_buffer("cos", rotation.real.contiguous(), persistent=False)
        self.register_buffer("sin", rotation.imag.contiguous(), persistent=False)

    def forward(self, features: Tensor, pos: Tensor, rows: Tensor, memory: MemoryTokens) -> Tensor:
        """Condition the features of streams on the memory of lanes.

        Args:
            features: ``[S, tokens, C]`` of each stream's present frame.
            pos: ``[tokens, C]``, their encoding.
            rows: ``[B]`` int64; each lane's row of ``features``.
            memory: What each lane remembers.

        Returns:
            ``[B, tokens, C]``.
        """
        attention = self.modules_of_model
        hidden = features + 0.1 * pos if attention.pos_enc_at_input else features
        for number, layer in enumerate(attention.layers):
            hidden = self._self_attention(layer, hidden, pos)
            if number == 0:
                # Until here nothing depends on the object: once a stream is enough.
                hidden = hidden.index_select(0, rows)
            hidden = self._cross_attention(layer, hidden, pos, memory)
            hidden = hidden + layer.linear2(layer.activation(layer.linear1(layer.norm3(hidden))))
        normed: Tensor = attention.norm(hidden)
        return normed

    def _self_attention(self, layer: MemoryAttentionLayer, hidden: Tensor, pos: Tensor) -> Tensor:
        attention: RoPEAttention = layer.self_attn
        normed = layer.norm1(hidden)
        keys = normed + pos if layer.pos_enc_at_attn else normed
        q = self._rotate(_heads(attention.q_proj(keys), attention.num_heads))
        k = self._rotate(_heads(attention.k_proj(keys), attention.num_heads))
        v = _heads(attention.v_proj(normed), attention.num_heads)
        return hidden + _attend(attention, q, k, v, None)

    def _cross_attention(
        self, layer: MemoryAttentionLayer, hidden: Tensor, pos: Tensor, memory: MemoryTokens
    ) -> Tensor:
        attention: RoPEAttention = layer.cross_attn_image
        normed = layer.norm2(hidden)
        q = self._rotate(
            _heads(
                attention.q_proj(normed + pos if layer.pos_enc_at_cross_attn_queries else normed), attention.num_heads
            )
        )
        spatial, pointers = memory.spatial, memory.pointers
        if layer.pos_enc_at_cross_attn_keys:
            spatial, pointers = spatial + memory.spatial_pos, pointers + memory.pointers_pos
        # [B, N, heads, tokens, D] -> [B, heads, N * tokens, D]: each slot is rotated as one feature map.
        k_spatial = self._rotate(_heads(attention.k_proj(spatial), attention.num_heads)).transpose(1, 2).flatten(2, 3)
        k = torch.cat([k_spatial, _heads(attention.k_proj(pointers), attention.num_heads)], dim=2)
        values = torch.cat([memory.spatial.flatten(1, 2), memory.pointers], dim=1)
        v = _heads(attention.v_proj(values), attention.num_heads)
        return hidden + _attend(attention, q, k, v, memory.mask)

    def _rotate(self, x: Tensor) -> Tensor:
        """Turn pairs of channels of ``[..., tokens, D]`` by their token's angles, in float32."""
        even, odd = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
        turned = torch.stack([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], dim=-1)
        return turned.flatten(-2).to(x.dtype)


def _heads(x: Tensor, heads: int) -> Tensor:
    """``[..., tokens, heads * D]`` -> ``[..., heads, tokens, D]``."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-3, -2)


def _attend(attention: RoPEAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    projected: Tensor = attention.out_proj(out.transpose(1, 2).flatten(2))
    return projected
