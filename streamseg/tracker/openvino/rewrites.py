"""Rewrites operations of the model so that OpenVINO computes them fast and, in bfloat16, correctly, with equal results.

Times are for nano's step at 256 px in bfloat16 on two Zen 4 cores (OpenVINO 2026.4).
"""

from __future__ import annotations

import copy
from typing import Final

import torch
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import Tensor, nn

from streamseg.tracker.sam2.step import TrackStep

_FEW_CHANNELS: Final = 64
"""With more channels, OpenVINO's own form of the normalization is as fast."""


def rewritten(step: TrackStep) -> TrackStep:
    """Return a copy of a step with this module's operations where they are better."""
    made = copy.deepcopy(step)
    made.upsample = MatrixUpsampling(4 * made.side, made.model.image_size)
    for part in (made.model.memory_encoder, made.model.sam_mask_decoder):
        for module in list(part.modules()):
            for name, child in module.named_children():
                if isinstance(child, LayerNorm2d) and len(child.weight) <= _FEW_CHANNELS:
                    setattr(module, name, ConvolutionNorm(child))
                elif isinstance(child, Attention) and name != "cross_attn_image_to_token":
                    setattr(module, name, TokenAttention(child))
    return made


class MatrixUpsampling(nn.Module):
    """Bilinear interpolation as two matrix products.

    OpenVINO's interpolation of a single channel is scalar: 64 to 256 pixels took 4 of a step's 21 ms in float32 on two
    Zen 4 cores, four lanes 12.5 of 43 ms in bfloat16. The weights are multiples of 1/8 for a factor of four, exact in
    any precision.

    Args:
        side: Side of the input.
        target: Side of the result.
    """

    matrix: Tensor

    def __init__(self, side: int, target: int) -> None:
        super().__init__()
        rows = torch.eye(side)[None]  # each unit vector's interpolation is a column of the matrix
        matrix = nn.functional.interpolate(rows, size=target, mode="linear", align_corners=False)[0].t()
        self.register_buffer("matrix", matrix.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 1, side, side]`` -> ``[B, 1, target, target]``."""
        return torch.matmul(torch.matmul(self.matrix, x), self.matrix.t())


class ConvolutionNorm(nn.Module):
    """Normalization over the channels of each pixel, with the means as 1x1 convolutions.

    A mean over few channels of a large picture, broadcast over the channels again, leaves most of a vector unused: 4
    channels of 128x128 cost more than any convolution around them. Four lanes take 28 ms instead of 30.

    Args:
        norm: The layer to replace.
    """

    centering: Tensor
    averaging: Tensor

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        channels = len(norm.weight)
        self.weight, self.bias, self._eps = norm.weight, norm.bias, norm.eps
        averaging = torch.full((channels, channels), 1 / channels)
        self.register_buffer("averaging", averaging[:, :, None, None], persistent=False)
        self.register_buffer("centering", (torch.eye(channels) - averaging)[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> the same shape."""
        centered = nn.functional.conv2d(x, self.centering)
        variance = nn.functional.conv2d(centered * centered, self.averaging)
        scaled = centered * torch.rsqrt(variance + self._eps)
        normalized: Tensor = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return normalized


class TokenAttention(nn.Module):
    """Attention of the decoder's few tokens, with the softmax spelled out.

    OpenVINO fuses products and softmax into one kernel ("snippets"). In bfloat16 its kernel for fewer than ten queries
    gives wrong results: nano's object scores were off by 2.7 on real memory (their spread is 3.4). In this form, which
    OpenVINO does not recognize, they are off by 0.03, as in torch's bfloat16. The other attentions may be fused: four
    lanes take 24 ms instead of 28, one lane 9.4 instead of 10.4.

    Args:
        attention: The layer to replace.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self._attention = attention

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As :class:`sam2.modeling.sam.transformer.Attention`."""
        replaced = self._attention
        heads = replaced.num_heads
        queries = replaced._separate_heads(replaced.q_proj(q), heads)
        keys = replaced._separate_heads(replaced.k_proj(k), heads)
        values = replaced._separate_heads(replaced.v_proj(v), heads)
        scores = torch.matmul(queries * queries.shape[-1] ** -0.5, keys.transpose(-1, -2))
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        attended = torch.matmul(weights, values) / weights.sum(-1, keepdim=True)
        merged: Tensor = replaced.out_proj(replaced._recombine_heads(attended))
        return merged
