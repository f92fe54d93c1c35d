"""Prompts as SAM 2 trains them (Ravi et al. 2024, appendix): a mask, a box with noise, or a click; then corrections."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

PromptKind = Literal["mask", "box", "point"]
POSITIVE, NEGATIVE, BOX_FIRST, BOX_SECOND = 1, 0, 2, 3
# Depth of a pixel: share of the mask in a square around it, of this many cells with this many pixels.
_COARSE, _SURROUNDINGS = 4, 9
_DEEP_SHARE, _DEEPEST = 0.5, 0.95
_BOX_NOISE = 0.1
_MAX_BOX_NOISE_PX = 20.0


def sample_clicks(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Return one pixel of each mask, drawn uniformly: ``float32 [L, 1, 2]``, x and y; the middle for an empty mask.

    Args:
        allowed: ``bool [L, H, W]``.
        generator: Of random numbers, on the CPU.
    """
    height, width = allowed.shape[-2:]
    weights = allowed.flatten(1).cpu().float()
    empty = weights.sum(1) == 0
    weights[empty, (height // 2) * width + width // 2] = 1
    index = torch.multinomial(weights, 1, generator=generator)
    return torch.stack([index % width, index // width], -1).to(allowed.device, torch.float32)


def first_click(masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one positive click on each mask: coordinates ``[L, 1, 2]`` and labels ``int32 [L, 1]``.

    Half of the clicks are anywhere on the mask, half deep inside, where careful users click.
    """
    deep = torch.rand(len(masks), generator=generator) < _DEEP_SHARE
    allowed = torch.where(deep[:, None, None].to(masks.device), _deep_inside(masks), masks)
    clicks = sample_clicks(allowed, generator)
    return clicks, torch.full(clicks.shape[:2], POSITIVE, dtype=torch.int32, device=masks.device)


def _deep_inside(masks: Tensor) -> Tensor:
    """Return the part of each mask, ``bool [L, H, W]``, that is deep inside."""
    coarse = functional.avg_pool2d(masks[:, None].float(), _COARSE)
    depth = functional.avg_pool2d(coarse, _SURROUNDINGS, 1, _SURROUNDINGS // 2)
    depth = functional.interpolate(depth, scale_factor=_COARSE)[:, 0] * masks
    return masks & (depth >= _DEEPEST * depth.amax((-2, -1), keepdim=True))


def noisy_boxes(masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the box of each mask as two points: coordinates ``[L, 2, 2]`` and labels ``int32 [L, 2]``.

    The corners have noise with a standard deviation of a tenth of the box's sides, at most 20 pixels, as in SAM.
    """
    height, width = masks.shape[-2:]
    columns, rows = masks.any(-2), masks.any(-1)
    x0, y0 = columns.float().argmax(-1), rows.float().argmax(-1)
    x1 = width - 1 - columns.flip(-1).float().argmax(-1)
    y1 = height - 1 - rows.flip(-1).float().argmax(-1)
    corners = torch.stack([torch.stack([x0, y0], -1), torch.stack([x1, y1], -1)], 1).float()
    sides = corners[:, 1:] - corners[:, :1] + 1
    noise = torch.randn(corners.shape, generator=generator).to(masks.device) * _BOX_NOISE
    noise = (noise * sides).clamp(-_MAX_BOX_NOISE_PX, _MAX_BOX_NOISE_PX)
    limit = torch.tensor([width - 1, height - 1], device=masks.device)
    corners = torch.minimum((corners + noise).clamp(min=0), limit)
    labels = torch.tensor([BOX_FIRST, BOX_SECOND], dtype=torch.int32, device=masks.device)
    return corners, labels.expand(len(masks), 2)


def correction_click(predicted: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one click in each mask's error region: negative where the prediction is too large.

    Args:
        predicted: ``bool [L, H, W]``.
        masks: ``bool [L, H, W]``: the truth.
        generator: Of random numbers, on the CPU.
    """
    clicks = sample_clicks(predicted ^ masks, generator)
    x, y = clicks[:, 0].long().unbind(-1)
    inside = masks[torch.arange(len(masks), device=masks.device), y, x]
    return clicks, torch.where(inside, POSITIVE, NEGATIVE).to(torch.int32)[:, None]
