"""The losses of SAM 2 (Ravi et al. 2024, appendix): focal 20, dice 1, IoU 1 (L1), object score 1.

Of several candidate masks, only the one with the lowest mask loss is trained; IoU estimates of all candidates are. A
frame without the object trains only the object score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, SCORE_WEIGHT = 20.0, 1.0, 1.0, 1.0
_ALPHA, _GAMMA = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class FrameLoss:
    """The loss of one decoder output, and its parts: scalars with a gradient."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    score: Tensor


def frame_loss(mask_logits: Tensor, iou_predictions: Tensor, score_logits: Tensor, truth: Tensor) -> FrameLoss:
    """Return the loss of one frame's candidates.

    Args:
        mask_logits: ``[L, M, h, w]``: M candidates for each of L lanes.
        iou_predictions: ``[L, M]``, in 0..1.
        score_logits: ``[L, 1]``: > 0 means that the object is visible.
        truth: ``bool [L, H, W]``, H and W multiples of h and w.
    """
    height, width = mask_logits.shape[-2:]
    present = truth.flatten(1).any(1)
    target = functional.adaptive_avg_pool2d(truth[:, None].float(), (height, width))
    target = target.expand_as(mask_logits)
    logits = mask_logits.float()
    focal = _focal(logits, target).mean((-2, -1))
    dice = _dice(logits, target)
    best = (FOCAL_WEIGHT * focal + DICE_WEIGHT * dice).argmin(1, keepdim=True)
    measured = _iou(logits, target)
    iou_error = (iou_predictions.float() - measured).abs().mean(1)
    weight = present.float() / present.sum().clamp(min=1)
    focal = (focal.gather(1, best)[:, 0] * weight).sum()
    dice = (dice.gather(1, best)[:, 0] * weight).sum()
    iou = (iou_error * weight).sum()
    score = functional.binary_cross_entropy_with_logits(score_logits.float()[:, 0], present.float())
    total = FOCAL_WEIGHT * focal + DICE_WEIGHT * dice + IOU_WEIGHT * iou + SCORE_WEIGHT * score
    return FrameLoss(total, focal, dice, iou, score)


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss (Lin et al. 2017). Targets may be fractions, as for pixels on the border."""
    surprise = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = (torch.sigmoid(logits) - target).abs()
    return (_ALPHA * target + (1 - _ALPHA) * (1 - target)) * miss**_GAMMA * surprise


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum((-2, -1))
    return 1 - (overlap + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)


@torch.no_grad()
def _iou(logits: Tensor, target: Tensor) -> Tensor:
    predicted, true = logits > 0, target > 0.5
    union = (predicted | true).sum((-2, -1))
    return (predicted & true).sum((-2, -1)) / union.clamp(min=1)
