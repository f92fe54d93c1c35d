"""Measures how well a model tracks held-out objects: long clips, with each kind of prompt, through its own memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from training.batches import Batch, Request, make_batch
from training.material import Material
from training.rollout import Rollout
from training.scene_clips import HELD_OUT_SEEDS
from training.schedule import Plan
from training.trainer import at_logits, set_image_size

_SEED = 1_000_003
_KINDS = ("mask", "box", "point")


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the objects of some clips. A mask whose object score says "hidden" counts as empty.

    Attributes:
        first_iou: IoU in the prompted frame.
        iou: IoU in all later frames that show the object.
        last_iou: IoU in the last frame, if it shows the object.
        presence: Share of the later frames whose object score is right about the object's visibility.
        iou_correlation: Correlation of predicted and true IoU over all later frames that show the object.
    """

    first_iou: float
    iou: float
    last_iou: float
    presence: float
    iou_correlation: float


def validation_batches(material: Material, plan: Plan) -> dict[str, list[Batch]]:
    """Return batches by name: the same composed clips for each kind of prompt, and ``scene``.

    Args:
        material: The held-out material.
        plan: Number and length of the clips.
    """
    groups = {}
    for index, kind in enumerate(_KINDS):
        shares = tuple(float(index == k) for k in range(len(_KINDS)))
        phase = replace(plan.validation, prompt_shares=shares, correction_share=0.0)
        groups[kind] = [make_batch(material, _SEED, Request(n, phase)) for n in range(plan.validation_batches)]
    phase = replace(plan.validation, prompt_shares=(1.0, 0.0, 0.0), scene_share=1.0)
    scenes = [make_batch(material, _SEED, Request(n, phase), HELD_OUT_SEEDS) for n in range(plan.scene_batches)]
    return groups | ({"scene": scenes} if scenes else {})


@torch.no_grad()
def measure(model: SAM2Base, batches: list[Batch], device: torch.device) -> Quality:
    """Return the quality of ``model`` on these batches.

    Puts the model in training mode meanwhile, in which sam2 does not modify masks before it encodes them into memory.
    """
    was_training = model.training
    model.train()
    parts = [_follow(model, batch, device) for batch in batches]
    model.train(was_training)
    truth, right, ious, expected = (torch.cat(values) for values in zip(*parts, strict=True))
    later = truth[:, 1:]
    pairs = torch.stack([expected[:, 1:][later], ious[:, 1:][later]])
    return Quality(
        first_iou=float(ious[:, 0].mean()),
        iou=float(ious[:, 1:][later].mean()),
        last_iou=float(ious[:, -1][truth[:, -1]].mean()),
        presence=float(right[:, 1:].float().mean()),
        iou_correlation=float(torch.corrcoef(pairs)[0, 1]),
    )


def _follow(model: SAM2Base, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return, each ``[L, T]``: visible, presence right, IoU, predicted IoU."""
    set_image_size(model, batch.images.shape[2])
    rollout = Rollout(batch, device)
    windows = []
    while not rollout.done:
        windows.append(rollout.advance(model))
    predicted = torch.cat([window.masks for window in windows], 1).cpu()
    present = torch.cat([window.score_logits for window in windows], 1).cpu() > 0
    expected = torch.cat([window.iou_predictions for window in windows], 1).cpu().float()
    truth = at_logits(batch.truth, predicted.shape[-1])
    in_sight = truth.flatten(2).any(-1)
    predicted &= present[..., None, None]
    overlap = (predicted & truth).sum((-2, -1)) / (predicted | truth).sum((-2, -1)).clamp(min=1)
    return in_sight, present == in_sight, overlap, expected
