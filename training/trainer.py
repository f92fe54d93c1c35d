"""Holds everything that a run trains, and takes its steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from training.batches import Batch, normalise
from training.losses import FrameLoss
from training.prompts import PromptKind
from training.rollout import Rollout, roll_out

_EMA_DECAY = 0.998
_MAX_GRADIENT_NORM = 1.0
_TRUNK_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Quality:
    """The averaged weights on held-out clips.

    Attributes:
        first_iou: In the prompted frame: what the prompt alone gives.
        last_iou: In the last frame.
        presence: Share of the later frames whose object score tells rightly whether the object is in sight.
    """

    first_iou: float
    last_iou: float
    presence: float


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step measured, before its update."""

    loss: float
    focal: float
    dice: float
    iou_error: float
    score: float
    gradient_norm: float
    iou: float


class Trainer:
    """A model under training, its averaged twin, and its optimiser.

    Args:
        model: In the state from which to train.
        device: Where it is trained; on CUDA the forward pass runs in bfloat16.
        learning_rate: The full rate; the trunk gets a tenth of it.
        weight_decay: Of matrices; vectors (biases, norms) have none.
    """

    def __init__(self, model: SAM2Base, device: torch.device, learning_rate: float, weight_decay: float = 0.05) -> None:
        self.device = device
        self.model = model.to(device).train().requires_grad_(True)
        self.model.image_encoder.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.trunk_is_trained = True
        self._rate = learning_rate
        self._optimizer = torch.optim.AdamW(list(self._groups(weight_decay)), lr=learning_rate)

    def _groups(self, weight_decay: float) -> Iterator[dict[str, Any]]:
        trunk = {id(parameter) for parameter in self.model.image_encoder.trunk.parameters()}
        for of_trunk in (False, True):
            parameters = [part for part in self.model.parameters() if (id(part) in trunk) == of_trunk]
            share = _TRUNK_RATE if of_trunk else 1.0
            matrices = [part for part in parameters if part.ndim > 1]
            vectors = [part for part in parameters if part.ndim <= 1]
            yield {"params": matrices, "weight_decay": weight_decay, "share": share}
            yield {"params": vectors, "weight_decay": 0.0, "share": share}

    def train_trunk(self, trained: bool) -> None:
        """Say whether the trunk is trained from now on; frozen, it costs a third."""
        if trained != self.trunk_is_trained:
            self.model.image_encoder.trunk.requires_grad_(trained)
            self.trunk_is_trained = trained

    def step(self, batch: Batch, rate_factor: float) -> StepReport:
        """Take one optimiser step; ``rate_factor`` scales the full rate.

        Raises:
            FloatingPointError: the loss is no number.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * rate_factor * group["share"]
        rollout = self._roll_out(self.model, batch)
        losses = rollout.losses
        total = torch.stack([loss.total for loss in losses]).mean()
        if not torch.isfinite(total):
            raise FloatingPointError(f"step {batch.request.step}: the loss is {float(total)}")
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._update_average(batch.request.step)
        return StepReport(
            float(total.detach()),
            *(mean_of(losses, part) for part in ("focal", "dice", "iou", "score")),
            float(norm),
            frame_iou(rollout, batch, -1),
        )

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> dict[PromptKind, Quality]:
        """Return the quality for each kind of prompt among the batches."""
        was_training = self.average.training
        self.average.train()  # As in training, so that memories are encoded alike; nothing in it is random.
        rollouts = [(self._roll_out(self.average, batch), batch) for batch in batches]
        self.average.train(was_training)
        kinds = dict.fromkeys(batch.kind for batch in batches)
        return {kind: _quality([pair for pair in rollouts if pair[1].kind == kind]) for kind in kinds}

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _roll_out(self, model: SAM2Base, batch: Batch) -> Rollout:
        set_image_size(model, batch.images.shape[2])
        generator = torch.Generator().manual_seed(batch.request.step)
        images = normalise(batch.images.to(self.device, non_blocking=True))
        lanes, truth = (part.to(self.device, non_blocking=True) for part in (batch.lane_clips, batch.truth))
        with self._precision():
            return roll_out(model, images, lanes, truth, batch.kind, batch.corrections, generator, batch.asides)

    def _precision(self) -> AbstractContextManager[Any]:
        # A CPU with bfloat16 instructions takes a third less time a step at 256 px (1.35 in place of 2.08 s, two Zen 4
        # cores); one without them would only emulate it.
        # The trunk's depthwise convolutions are the exception: trained in bfloat16, a step takes 19 s.
        if self.device.type == "cuda" or (torch.cpu._is_avx512_bf16_supported() and not self.trunk_is_trained):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = min(_EMA_DECAY, (step + 1) / (step + 10))
        ours, theirs = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)


def set_image_size(model: SAM2Base, side_px: int) -> None:
    """Make ``model`` take square pictures of another size; sam2's modules hold it in these places."""
    if model.image_size == side_px:
        return
    grid = side_px // model.backbone_stride
    model.image_size = side_px
    model.sam_image_embedding_size = grid
    encoder = model.sam_prompt_encoder
    encoder.image_embedding_size = (grid, grid)
    encoder.input_image_size = (side_px, side_px)
    encoder.mask_input_size = (4 * grid, 4 * grid)


def _quality(rollouts: list[tuple[Rollout, Batch]]) -> Quality:
    right = [
        ((rollout.score_logits > 0).cpu() == batch.truth.flatten(2).any(-1))[:, 1:].float().mean()
        for rollout, batch in rollouts
    ]
    first, last = (sum(frame_iou(rollout, batch, t) for rollout, batch in rollouts) / len(rollouts) for t in (0, -1))
    return Quality(first, last, float(torch.stack(right).mean()))


def frame_iou(rollout: Rollout, batch: Batch, t: int) -> float:
    """Return the mean IoU of the lanes whose object is visible in frame ``t``, at the logits' resolution."""
    predicted = rollout.masks[:, t].cpu()
    truth = nn.functional.adaptive_avg_pool2d(batch.truth[:, t].float(), predicted.shape[-2:]) > 0.5
    visible = truth.flatten(1).any(1)
    overlap = (predicted & truth).sum((-2, -1)) / (predicted | truth).sum((-2, -1)).clamp(min=1)
    return float(overlap[visible].mean()) if bool(visible.any()) else 0.0


def mean_of(losses: list[FrameLoss], part: str) -> float:
    """Return the mean of one part of some losses."""
    return float(torch.stack([getattr(loss, part).detach() for loss in losses]).mean())


def export_weights(average: dict[str, Tensor], path: Path) -> None:
    """Write the averaged weights in half precision, laid out as sam2 lays its checkpoints out."""
    half = {name: part.half() if part.is_floating_point() else part for name, part in average.items()}
    torch.save({"model": half}, path)
