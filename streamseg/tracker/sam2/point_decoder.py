"""Decodes many single points to low-res masks: sam2's mask decoder with the same weights and less work.

The original is ``sam2/modeling/sam/mask_decoder.py`` and ``transformer.py``. A point has 8 tokens, a picture at 1024 px
4096, and the reference copies the picture's tokens for each point and projects each copy. Here:

- Projections of the picture's tokens move to the other side of the product, to the few tokens of the point:
  ``q (W k) = (q W) k``. This halves the arithmetic of attention, and drops bias terms that cancel in a softmax.
- The first attention to the picture is equal for all points of one picture and is projected once.
- Predicted IoUs depend only on tokens, so masks with too low a predicted IoU are never computed.
- Transposed convolutions that do not overlap are matrix products, and the masks' pixels stay in the order of those
  products until the end.

Results agree with the reference up to rounding; a test compares them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from sam2.modeling.sam.transformer import Attention, TwoWayTransformer
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn import functional

from streamseg.errors import ModelError

_SEEN: Final = 10.0
"""Object score of a decoder that has none, as in sam2."""
_CPU_BATCH_VALUES: Final = 4 * 2**20
"""Maximum number of values in copies of the picture's tokens for a batch of points on a CPU: 16 MiB."""


class Decoded(NamedTuple):
    """Masks of ``N`` candidates.

    Attributes:
        logits: ``float32 [N, h, w]`` at stride 4.
        ious: ``float32 [N]``; the predicted IoU.
        points: ``int64 [N]``; index of the point that each belongs to.
    """

    logits: Tensor
    ious: Tensor
    points: Tensor

    def keep(self, chosen: Tensor) -> Decoded:
        """Return the chosen ones, by a mask or by indices."""
        return Decoded(*(values[chosen] for values in self))


class _Attended(NamedTuple):
    """``B`` points after the transformer.

    Attributes:
        tokens: ``[B, T, C]``.
        keys: ``[B, N, C]``; the picture's tokens, as each point sees them.
    """

    tokens: Tensor
    keys: Tensor


def points_at_once(network: SAM2Base, batch: int) -> int:
    """Return how many points a decoder takes at once: ``batch``, or fewer on a CPU to limit memory."""
    if network.device.type != "cpu":
        return batch
    side, channels = int(network.image_size // network.backbone_stride), int(network.hidden_dim)
    return max(1, min(batch, _CPU_BATCH_VALUES // (side**2 * channels)))


def is_decodable(network: SAM2Base) -> bool:
    """Return whether the mask decoder is of a kind that sam2 publishes, as :class:`PointDecoder` needs."""
    decoder = network.sam_mask_decoder
    return isinstance(decoder.transformer, TwoWayTransformer) and bool(decoder.use_high_res_features)


class PointDecoder:
    """Decodes single points on one picture, or each on a different one.

    Args:
        network: The model.
        top: ``[S, C, h, w]``; features of one picture, or of a picture for each point, at stride 16, with
            ``no_mem_embed`` added.
        stride8: ``[S, C / 4, 2h, 2w]``.
        stride4: ``[S, C / 8, 4h, 4w]``.
        batch: Maximum number of points at once.

    Attributes:
        batch: Maximum number of points at once; on a CPU perhaps lower than requested.

    Raises:
        ModelError: The mask decoder is not of a kind that sam2 publishes.
    """

    def __init__(self, network: SAM2Base, top: Tensor, stride8: Tensor, stride4: Tensor, batch: int) -> None:
        if not is_decodable(network):
            raise ModelError("the mask decoder has no high-res features or another transformer: use exact")
        self._network, self._decoder = network, network.sam_mask_decoder
        self._top = top
        self._pe = network.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
        self._channels, self._side = top.shape[1], top.shape[2]
        self._stride8, self._stride4 = _quads(stride8, 1), _quads(stride4, 2)
        self.batch = points_at_once(network, batch)

    def __call__(
        self, points: Tensor, mask_input: Tensor | None, *, multimask: bool, above_iou: float | None
    ) -> Decoded:
        """Segment points.

        Args:
            points: ``[B, 2]`` in pixels of the model input; at most ``batch`` of them.
            mask_input: ``[B, 4h, 4w]`` low-res logits, one for each point; None for none.
            multimask: Three masks per point.
            above_iou: Return only masks whose predicted IoU is above this; None returns all.
        """
        attended = self._attend(points, mask_input)
        return self._decode(attended, multimask=multimask, above_iou=above_iou)

    def clicks(self, points: Tensor, *, multimask: bool) -> tuple[Decoded, Tensor]:
        """Return the masks of points and ``float32 [B]``; > 0: the model sees an object at that point.

        Args:
            points: As for :meth:`__call__`, at most ``batch`` of them.
            multimask: Three masks per point.
        """
        attended = self._attend(points, None)
        if self._decoder.pred_obj_scores:
            scores = self._decoder.pred_obj_score_head(attended.tokens[:, 0])[:, 0].float()
        else:
            scores = torch.full((len(points),), _SEEN, device=points.device)
        return self._decode(attended, multimask=multimask, above_iou=None), scores

    def _decode(self, attended: _Attended, *, multimask: bool, above_iou: float | None) -> Decoded:
        first = 1 if self._decoder.pred_obj_scores else 0
        ious = self._decoder.iou_prediction_head(attended.tokens[:, first]).float()
        picked = slice(1, None) if multimask else slice(0, 1)
        falls_back = not multimask and bool(self._decoder.dynamic_multimask_via_stability)
        possible = ious if falls_back else ious[:, picked]
        rows = torch.arange(len(ious), device=ious.device)
        if above_iou is not None:
            rows = torch.nonzero(possible.amax(dim=1) > above_iou)[:, 0]
        mask_tokens = attended.tokens[rows, first + 1 : first + 1 + self._decoder.num_mask_tokens]
        keys, ious = attended.keys[rows], ious[rows]
        finer = [level if len(level) == 1 else level[rows] for level in (self._stride8, self._stride4)]
        if falls_back:
            every = self._masks(keys, finer, mask_tokens, slice(None))
            logits, ious = self._decoder._dynamic_multimask_via_stability(every, ious)
        else:
            logits, ious = self._masks(keys, finer, mask_tokens, picked), ious[:, picked]
        found = Decoded(logits.flatten(0, 1), ious.flatten(), rows.repeat_interleave(ious.shape[1]))
        return found if above_iou is None else found.keep(found.ious > above_iou)

    def _attend(self, points: Tensor, mask_input: Tensor | None) -> _Attended:
        """Run the transformer."""
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        mask = None if mask_input is None else mask_input[:, None]
        sparse, dense = self._network.sam_prompt_encoder(points=(points[:, None], labels), boxes=None, masks=mask)
        if mask is None:
            dense = dense[:1]  # equal for all
        decoder, transformer = self._decoder, self._decoder.transformer
        own = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            own.insert(0, decoder.obj_score_token.weight)
        pe = torch.cat([torch.cat(own)[None].expand(len(sparse), -1, -1), sparse], dim=1)
        queries, keys = pe, (self._top + dense).flatten(2).transpose(1, 2)
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                with_pe = queries + pe
                queries = queries + layer.self_attn(q=with_pe, k=with_pe, v=queries)
            queries = layer.norm1(queries)
            keys_pe = keys + self._pe
            queries = layer.norm2(queries + _to_picture(layer.cross_attn_token_to_image, queries + pe, keys_pe, keys))
            queries = layer.norm3(queries + layer.mlp(queries))
            keys = layer.norm4(_from_picture(layer.cross_attn_image_to_token, keys, keys_pe, queries + pe, queries))
        attention = transformer.final_attn_token_to_image
        queries = queries + _to_picture(attention, queries + pe, keys + self._pe, keys)
        return _Attended(transformer.norm_final_attn(queries), keys)

    def _masks(self, keys: Tensor, finer: list[Tensor], mask_tokens: Tensor, picked: slice) -> Tensor:
        """Return ``float32 [b, M, 4 side, 4 side]`` of the picked mask tokens. ``finer``: strides 8 and 4."""
        first, norm, activate, second, _ = self._decoder.output_upscaling
        chosen = range(self._decoder.num_mask_tokens)[picked]
        weights = torch.stack(
            [self._decoder.output_hypernetworks_mlps[token](mask_tokens[:, token]) for token in chosen], dim=1
        )
        half = _upscaled(first, keys, finer[0])
        half = activate(functional.layer_norm(half, half.shape[-1:], norm.weight, norm.bias, norm.eps))
        full = activate(_upscaled(second, half, finer[1]))
        masks = full.flatten(1, -2) @ weights.transpose(1, 2)
        side, count = self._side, len(chosen)
        # Row, column, half row, half column, quarter row, quarter column, mask.
        masks = masks.view(len(keys), side, side, 2, 2, 2, 2, count).permute(0, 7, 1, 3, 5, 2, 4, 6)
        stacked: Tensor = masks.reshape(len(keys), count, 4 * side, 4 * side).float()
        return stacked


def _quads(level: Tensor, steps: int) -> Tensor:
    """Return ``[S, C, 2^s h, 2^s w]`` as ``[S, N, 4, .., C]``: the pixels of each token, quarter by quarter."""
    count, channels, side = level.shape[0], level.shape[1], level.shape[2] >> steps
    split: Tensor = level.view(count, channels, side, *[2] * steps, side, *[2] * steps)
    rows, columns = range(3, 3 + steps), range(4 + steps, 4 + 2 * steps)
    order = [0, 2, 3 + steps, *(axis for pair in zip(rows, columns, strict=True) for axis in pair), 1]
    return split.permute(order).reshape(count, side * side, *[4] * steps, channels).contiguous()


def _upscaled(layer: Any, pixels: Tensor, finer: Tensor) -> Tensor:
    """Apply a transposed convolution of kernel and stride 2 to ``[b, ..., C]``; add ``[b or 1, .., 4, C']``."""
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    out: Tensor = (pixels @ weight).view(*pixels.shape[:-1], 4, finer.shape[-1])
    return out.add_(finer + layer.bias)


def _to_picture(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from ``[B, T, C]`` to the picture's tokens, ``[B, N, C]``, or ``[1, N, C]`` if equal for all."""
    heads, channels = attention.num_heads, attention.internal_dim // attention.num_heads
    count, tokens, _ = queries.shape
    small = attention.q_proj(queries).unflatten(-1, (heads, channels))
    if len(keys) == 1:
        # [1, heads, B T, c]: all points attend to the same projected tokens.
        asked = small.permute(2, 0, 1, 3).reshape(1, heads, count * tokens, channels)
        key = attention.k_proj(keys).unflatten(-1, (heads, channels)).transpose(1, 2)
        value = attention.v_proj(values).unflatten(-1, (heads, channels)).transpose(1, 2)
        got = functional.scaled_dot_product_attention(asked, key, value)
        got = got.view(heads, count, tokens, channels).permute(1, 2, 0, 3)
    else:
        asked = torch.einsum("bthc,hcd->bhtd", small, _by_head(attention.k_proj.weight, heads)).flatten(1, 2)
        seen = functional.scaled_dot_product_attention(
            asked[:, None], keys[:, None], values[:, None], scale=channels**-0.5
        )
        seen = seen[:, 0].view(count, heads, tokens, -1)
        got = torch.einsum("bhtd,hcd->bthc", seen, _by_head(attention.v_proj.weight, heads))
        got = got + attention.v_proj.bias.view(heads, channels)
    result: Tensor = attention.out_proj(got.flatten(2))
    return result


def _from_picture(attention: Attention, residual: Tensor, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from the picture's tokens ``[B or 1, N, C]`` to ``[B, T, C]``; return the sum with ``residual``."""
    heads, channels = attention.num_heads, attention.internal_dim // attention.num_heads
    count, tokens, _ = keys.shape
    small = attention.k_proj(keys).unflatten(-1, (heads, channels)) * channels**-0.5
    key = torch.einsum("bthc,hcd->bhtd", small, _by_head(attention.q_proj.weight, heads)).flatten(1, 2)
    bias = torch.einsum("bthc,hc->bht", small, attention.q_proj.bias.view(heads, channels)).flatten(1)
    # [B, heads T, N]: a softmax over a few values is fast only with many others beside it.
    asked = asking.expand(count, -1, -1).transpose(1, 2)
    scores = torch.baddbmm(bias[..., None].to(asking.dtype), key.to(asking.dtype), asked)
    shares = scores.view(count, heads, tokens, -1).softmax(dim=2).flatten(1, 2)
    value = attention.v_proj(values).unflatten(-1, (heads, channels))
    out = attention.out_proj.weight.view(-1, heads, channels)
    # The shares of each head add up to 1, so the output's bias is spread over the heads.
    value = torch.einsum("bthc,dhc->bhtd", value, out).flatten(1, 2) + attention.out_proj.bias / heads
    return torch.baddbmm(
        residual.expand(count, -1, -1), shares.transpose(1, 2).to(residual.dtype), value.to(residual.dtype)
    )


def _by_head(weight: Tensor, heads: int) -> Tensor:
    return weight.view(heads, -1, weight.shape[1])
