"""Initial weights: a pretrained trunk, a neck with unit scale, memory that propagates labels, prompts that mark.

With random weights, a tracker first has to learn that attending to the past by similarity is useful, which takes
thousands of steps. Here memory attention starts as a soft nearest-neighbor look-up: a memory holds a projection
of the image feature beside an embedding of the mask; queries and keys are the same projection, and values are the
mask's part, as in label propagation and STM (Oh et al. 2019). All of it is trained further.
"""

from __future__ import annotations

from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from training.pretrained import load_pretrained_trunk

# Memory channels that start as the mask's embedding; the others start as the picture's feature.
_MASK_CHANNELS = 16
_KEY_SCALE = 3.0
_SHARPNESS = 0.7
_LOCALITY = 1.5
# Rotary frequencies (of 32 per axis, falling from 1) that encode position, and those that hardly change in a picture.
_LOCAL_PAIRS, _FIRST_STEADY_PAIR = 6, 8
_MASK_GAIN = 4.0
_MARK_SHARPNESS = 1.5
_PROMPT_CONTENT = 0.25
_PRESENT_LOGIT = 2.0


@torch.no_grad()
def start_weights(model: SAM2Base, trunk: Path | None, pictures: Tensor) -> None:
    """Set the initial weights of a new model.

    Args:
        model: The model; modified.
        trunk: File of the pretrained trunk; None keeps it random.
        pictures: ``float [B, 3, H, W]``: model input to measure the neck's scale on.
    """
    if trunk is not None:
        load_pretrained_trunk(model.image_encoder.trunk, trunk)
    _calibrate_neck(model.image_encoder.trunk, model.image_encoder.neck, pictures)
    _start_memory(model)
    _start_prompts(model)
    # Most frames show the object; and the decoder expects mask logits in -10..10.
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(_PRESENT_LOGIT)
    model.mask_downsample.weight.fill_(20 / model.mask_downsample.weight.numel())
    model.mask_downsample.bias.fill_(-10)


def _calibrate_neck(trunk: nn.Module, neck: nn.Module, pictures: Tensor) -> None:
    for features, conv in zip(reversed(trunk(pictures)), neck.convs, strict=True):
        output = conv(features)
        scale = 1 / output.std()
        conv.conv.weight.mul_(scale)
        conv.conv.bias.sub_(output.mean((0, 2, 3))).mul_(scale)


def _start_memory(model: SAM2Base) -> None:
    encoder = model.memory_encoder
    hidden, memory = model.hidden_dim, model.mem_dim
    picture, key = hidden - _MASK_CHANNELS, memory - _MASK_CHANNELS
    projection = torch.nn.init.orthogonal_(torch.empty(key, picture))

    _set(encoder.pix_feat_proj, torch.eye(hidden))
    encoder.pix_feat_proj.weight[picture:] = 0
    last = encoder.mask_downsampler.encoder[-1]
    last.weight[:picture] = 0
    last.weight[picture:] *= _MASK_GAIN
    last.bias[:picture] = 0
    out = torch.zeros(memory, hidden)
    out[:key, :picture] = projection * _KEY_SCALE
    out[key:, picture:] = torch.eye(_MASK_CHANNELS)
    _set(encoder.out_proj, out)

    pairs = hidden // 4
    steady = [*range(_FIRST_STEADY_PAIR, pairs), *range(pairs + _FIRST_STEADY_PAIR, 2 * pairs)]
    dims = [2 * steady[index % len(steady)] + index // len(steady) for index in range(key)]
    local = [2 * pair for pair in (*range(_LOCAL_PAIRS), *range(pairs, pairs + _LOCAL_PAIRS))]
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        query, keys = torch.zeros(hidden, hidden), torch.zeros(hidden, memory)
        query[dims, :picture] = projection * _SHARPNESS
        keys[dims, :key] = torch.eye(key) * _SHARPNESS
        _set(attention.q_proj, query)
        _set(attention.k_proj, keys)
        for part in (attention.q_proj, attention.k_proj):
            part.weight += torch.randn_like(part.weight) * 0.01
            part.bias[local] = _LOCALITY
        attention.v_proj.weight[:, key:] *= 2


def _start_prompts(model: SAM2Base) -> None:
    """Make a click or a corner mark its position in the picture from the first step on.

    The positional encodings of a token and a cell are similar if both are at the same position. With a shared
    projection for queries and keys, cells attend to the nearest tokens. With two random ones, the usual start, the mask
    did not depend on the prompt's position even after 2,000 steps. The embedding of the prompt's kind is scaled down,
    since it would hide the position.
    """
    for layer in model.sam_mask_decoder.transformer.layers:
        attention = layer.cross_attn_image_to_token
        width, inner = attention.q_proj.weight.shape[::-1]
        shared = torch.nn.init.orthogonal_(torch.empty(inner, width)) * _MARK_SHARPNESS
        for part in (attention.q_proj, attention.k_proj):
            _set(part, shared + torch.randn_like(shared) * 0.01)
    for embedding in model.sam_prompt_encoder.point_embeddings:
        embedding.weight.mul_(_PROMPT_CONTENT)


def _set(module: nn.Module, matrix: Tensor) -> None:
    module.weight.copy_(matrix.view(module.weight.shape))
    module.bias.zero_()
