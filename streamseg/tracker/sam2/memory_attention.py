"""sam2's memory attention rewritten for speed: the same function of the same weights, with fixed shapes.

These exact transformations are applied once, when the model is loaded (the original is
``sam2/modeling/memory_attention.py``):

- The two channels of each rotary pair are stored in separate halves instead of side by side. A product of queries and
  keys does not depend on the order of channels, halves are read without strides, and no complex numbers are needed.
- The scale of the product is part of the queries' rotation.
- Attention is linear in its values and its weights sum to 1. So the output projection is folded into the value
  projection, and both can be applied after the sum instead of before.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn
from torch.nn import functional

from streamseg.errors import ModelError
from streamseg.tracker.sam2.ranged_attention import AttendRanges, KeyRanges

_SUMMED_FIRST_LIMIT = 1024
"""Maximum number of queries whose attention weights are held at once: 1,024 with 7 frames of memory take 30 MB."""


class MemoryTokens(NamedTuple):
    """The tokens that the current frame attends to: spatial tokens, then pointers.

    A bias or ranges define which of them are valid; without either, all are. Each lane needs at least one valid token.

    Attributes:
        spatial: ``[B, N, tokens, memory_dim]``; rotated by their position in the feature map.
        spatial_pos: ``[N, tokens, memory_dim]``, or per lane ``[B, N, tokens, memory_dim]``; added to the keys.
        pointers: ``[B, Q, memory_dim]``; have no position, so they are not rotated.
        pointers_pos: ``[B, Q, memory_dim]``.
        bias: ``[B, 1, N * tokens + Q]`` float32: 0 for valid tokens, else -inf; or None.
        ranges: The valid ones of ``N * tokens + Q`` tokens; or None.
    """

    spatial: Tensor
    spatial_pos: Tensor
    pointers: Tensor
    pointers_pos: Tensor
    bias: Tensor | None = None
    ranges: KeyRanges | None = None


class FixedMemoryAttention(nn.Module):
    """sam2's memory attention over a fixed number of tokens.

    The first self-attention does not depend on the object. It is a separate method (:meth:`attend_to_self`), computed
    once for all objects of a stream.

    Args:
        modules: The model's layers; their projections are copied.

    Attributes:
        attend_ranges: The kernel for partly filled memory; None if such memory comes with a bias.

    Raises:
        ModelError: The layers are not of a kind that sam2 publishes.
    """

    def __init__(self, modules: MemoryAttention) -> None:
        super().__init__()
        self._norm = modules.norm
        self._pos_at_input = bool(modules.pos_enc_at_input)
        self._layers = nn.ModuleList(_Layer(layer) for layer in modules.layers)
        self.attend_ranges: AttendRanges | None = None

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Convert the projections' weights to the precision in which they are used."""
        for module in self.modules():
            if isinstance(module, _Projections):
                module.cast_weights(dtype)

    def _layer(self, number: int) -> _Layer:
        return cast(_Layer, self._layers[number])

    def attend_to_self(self, features: Tensor, pos: Tensor) -> Tensor:
        """Let the current frame of each stream attend to itself.

        Args:
            features: ``[S, tokens, C]``.
            pos: ``[tokens, C]``, their encoding.

        Returns:
            ``[S, tokens, C]``, for :meth:`forward`.
        """
        return self._layer(0).attend_to_self(features + 0.1 * pos if self._pos_at_input else features, pos)

    def forward(self, attended: Tensor, pos: Tensor, memory: MemoryTokens) -> Tensor:
        """Condition current frames on the memory of lanes.

        Args:
            attended: ``[B, tokens, C]`` of each lane's stream, from :meth:`attend_to_self`.
            pos: ``[tokens, C]``.
            memory: Memory of each lane.

        Returns:
            ``[B, tokens, C]``.
        """
        hidden = attended
        for number in range(len(self._layers)):
            layer = self._layer(number)
            if number > 0:
                hidden = layer.attend_to_self(hidden, pos)
            hidden = layer.attend_to_memory(hidden, pos, memory, self.attend_ranges)
        normed: Tensor = self._norm(hidden)
        return normed


class _Layer(nn.Module):
    """One layer: self-attention, attention to memory, two linear layers."""

    def __init__(self, layer: MemoryAttentionLayer) -> None:
        super().__init__()
        self._source = layer
        self._self_attention = _Projections(layer.self_attn)
        self._cross_attention = _Projections(layer.cross_attn_image)

    def attend_to_self(self, hidden: Tensor, pos: Tensor) -> Tensor:
        layer, attention = self._source, self._self_attention
        normed = layer.norm1(hidden)
        keys = normed + pos if layer.pos_enc_at_attn else normed
        q, k = attention.queries(keys), attention.rotate(attention.keys(keys))
        attended: Tensor = hidden + attention.attend(q, k, normed, None)
        return attended

    def attend_to_memory(
        self, hidden: Tensor, pos: Tensor, memory: MemoryTokens, attend_ranges: AttendRanges | None
    ) -> Tensor:
        layer, attention = self._source, self._cross_attention
        normed = layer.norm2(hidden)
        q = attention.queries(normed + pos if layer.pos_enc_at_cross_attn_queries else normed)
        spatial, pointers = memory.spatial, memory.pointers
        if layer.pos_enc_at_cross_attn_keys:
            spatial, pointers = spatial + memory.spatial_pos, pointers + memory.pointers_pos
        # Each slot is rotated as one feature map.
        k = torch.cat([attention.rotate(attention.keys(spatial)).flatten(1, 2), attention.keys(pointers)], dim=1)
        values = torch.cat([memory.spatial.flatten(1, 2), memory.pointers.to(memory.spatial.dtype)], dim=1)
        if memory.ranges is None:
            attended = attention.attend(q, k, values, memory.bias)
        else:
            assert attend_ranges is not None
            attended = attend_ranges(q, k, attention.values(values, q.dtype), memory.ranges) + attention.value_bias
        hidden = hidden + attended
        activated = layer.activation(layer.linear1(layer.norm3(hidden)))
        fed: Tensor = hidden + layer.linear2(activated)
        return fed


class _Projections(nn.Module):
    """Weights of one single-head attention, transformed as described in the module docstring."""

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor
    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    def __init__(self, attention: RoPEAttention) -> None:
        super().__init__()
        if attention.num_heads != 1:
            raise ModelError(f"memory attention has {attention.num_heads} heads: the tracker supports 1")
        channels = attention.q_proj.out_features
        halves = torch.cat([torch.arange(0, channels, 2), torch.arange(1, channels, 2)])
        out, value = attention.out_proj, attention.v_proj
        folded = out.weight.double() @ value.weight.double()
        folded_bias = out.weight.double() @ value.bias.double() + out.bias.double()
        # [tokens, C / 2]; one complex tensor in the reference (position_encoding.compute_axial_cis).
        cos, sin = attention.freqs_cis.real, attention.freqs_cis.imag
        scale = channels**-0.5
        for name, tensor in {
            "query_weight": attention.q_proj.weight[halves],
            "query_bias": attention.q_proj.bias[halves],
            "key_weight": attention.k_proj.weight[halves],
            "key_bias": attention.k_proj.bias[halves],
            "value_weight": folded.to(out.weight.dtype),
            "value_bias": folded_bias.to(out.weight.dtype),
            "query_cos": scale * cos,
            "query_sin": scale * sin,
            "key_cos": cos,
            "key_sin": sin,
        }.items():
            self.register_buffer(name, tensor.detach().contiguous(), persistent=False)

    def cast_weights(self, dtype: torch.dtype) -> None:
        """See :meth:`FixedMemoryAttention.cast_weights`. The bias of values stays float32, in which it is added."""
        for name in ("query_weight", "query_bias", "key_weight", "key_bias", "value_weight"):
            self.register_buffer(name, getattr(self, name).to(dtype), persistent=False)

    def queries(self, x: Tensor) -> Tensor:
        """Project ``[B, tokens, C]`` to queries ``[B, tokens, C]``, rotated and scaled."""
        return _rotate_halves(functional.linear(x, self.query_weight, self.query_bias), self.query_cos, self.query_sin)

    def keys(self, x: Tensor) -> Tensor:
        """Project ``[..., tokens, D]`` to keys ``[..., tokens, C]``, not rotated yet."""
        return functional.linear(x, self.key_weight, self.key_bias)

    def rotate(self, keys: Tensor) -> Tensor:
        """Rotate keys ``[..., tokens, C]`` of one feature map by their positions."""
        return _rotate_halves(keys, self.key_cos, self.key_sin)

    def values(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Project ``[B, keys, D]`` to values ``[B, keys, C]`` without the bias, which is added to the sum."""
        return functional.linear(x, self.value_weight).to(dtype)

    def attend(self, q: Tensor, k: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Attend, and apply the output projection.

        Args:
            q: ``[B, tokens, C]``.
            k: ``[B, keys, C]``.
            values: ``[B, keys, D]``, not projected yet.
            bias: As in :class:`MemoryTokens`.
        """
        narrow = 4 * values.shape[-1] <= k.shape[-1] or q.dtype != torch.float32
        if narrow and q.device.type == "cpu" and q.shape[1] <= _SUMMED_FIRST_LIMIT:
            # Sum the raw 64 channels, then project: a quarter of the work, and no projection of all keys. torch's CPU
            # kernel cannot do this. One Zen 4 core, 256 queries, 1,811 keys, C = 256, 1 lane: 4.1 instead of 6.8 ms
            # in float32, 2.4 instead of 7.8 ms in bfloat16. For C = 128 in float32 torch's kernel is faster (3.2
            # against 4.8 ms).
            k = k.transpose(1, 2)
            scores = torch.bmm(q, k) if bias is None else torch.baddbmm(bias.to(q.dtype), q, k)
            summed = torch.bmm(scores.softmax(dim=-1).to(values.dtype), values)
            return functional.linear(summed, self.value_weight, self.value_bias)
        projected = self.values(values, q.dtype)
        mask = None if bias is None else bias.to(q.dtype)[:, None]
        out = functional.scaled_dot_product_attention(q[:, None], k[:, None], projected[:, None], mask, scale=1.0)
        return out[:, 0] + self.value_bias


def _rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of the channels of ``[..., tokens, C]`` by their token's angles, in float32."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
