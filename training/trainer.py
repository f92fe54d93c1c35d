"""The model, its average and the optimizer, and one training step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from training.batches import Batch
from training.losses import FrameLoss
from training.precision import fast_precision, keep_float32
from training.ranks import Ranks
from training.rollout import Rollout, Window

_EMA_DECAY = 0.999
_MAX_GRADIENT_NORM = 1.0
_TRUNK_RATE = 0.1


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
    """A model in training, its moving average, and its optimizer.

    Args:
        model: With its initial weights.
        device: Device to train on; the forward pass uses :func:`~training.precision.fast_precision`.
        learning_rate: The full rate; the trunk gets a tenth of it.
        weight_decay: Weight decay of matrices; vectors (biases, norms) have none.
    """

    def __init__(self, model: SAM2Base, device: torch.device, learning_rate: float, weight_decay: float = 0.05) -> None:
        self.device = device
        self.model = model.to(device).train().requires_grad_(True)
        for part in (self.model.image_encoder, self.model.memory_encoder):
            part.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._trunk_stages = -1
        self._exact: list[RemovableHandle] = []
        self.train_trunk(0)
        self.steps = 0
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

    def train_trunk(self, stages: int) -> None:
        """Train this many of the trunk's last stages from now on; the others are frozen."""
        if stages == self._trunk_stages:
            return
        self._trunk_stages = stages
        trunk = self.model.image_encoder.trunk
        trunk.requires_grad_(stages >= len(trunk.stages))
        for handle in self._exact:
            handle.remove()
        self._exact = []
        for stage in trunk.stages[len(trunk.stages) - stages :]:
            stage.requires_grad_(True)
            if self.device.type == "cpu":
                self._exact += keep_float32(stage)

    def step(self, rollout: Rollout, rate_factor: float, ranks: Ranks) -> StepReport:
        """Train the next window of ``rollout``, together with the other ranks; ``rate_factor`` scales the full rate.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * rate_factor * group["share"]
        set_image_size(self.model, rollout.batch.images.shape[2])
        with fast_precision(self.device):
            window = rollout.advance(self.model)
        total = torch.stack([loss.total for loss in window.losses]).mean()
        if not torch.isfinite(total):
            raise FloatingPointError(f"batch {rollout.batch.request.step}: the loss is {float(total)}")
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        ranks.mean_gradients(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._update_average()
        return StepReport(
            float(total.detach()),
            *(mean_of(window.losses, part) for part in ("focal", "dice", "iou", "score")),
            float(norm),
            last_iou(window, rollout.batch),
        )

    def state(self) -> dict[str, Any]:
        """Return the state to resume from, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average_steps": self.steps,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Resume from a result of :meth:`state`. In old checkpoints, the run's ``step`` also counts the average's."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = state["average_steps"] if "average_steps" in state else state["step"]

    @torch.no_grad()
    def _update_average(self) -> None:
        self.steps += 1
        decay = min(_EMA_DECAY, self.steps / (self.steps + 9))
        ours, theirs = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)


def set_image_size(model: SAM2Base, side_px: int) -> None:
    """Make ``model`` take square pictures of another size; sam2's modules store it in several places."""
    if model.image_size == side_px:
        return
    grid = side_px // model.backbone_stride
    model.image_size = side_px
    model.sam_image_embedding_size = grid
    encoder = model.sam_prompt_encoder
    encoder.image_embedding_size = (grid, grid)
    encoder.input_image_size = (side_px, side_px)
    encoder.mask_input_size = (4 * grid, 4 * grid)


def last_iou(window: Window, batch: Batch) -> float:
    """Return the mean IoU of the lanes whose object is visible in the window's last frame."""
    predicted = window.masks[:, -1].cpu()
    truth = at_logits(batch.truth[:, window.first + window.masks.shape[1] - 1], predicted.shape[-1])
    visible = truth.flatten(1).any(1)
    overlap = (predicted & truth).sum((-2, -1)) / (predicted | truth).sum((-2, -1)).clamp(min=1)
    return float(overlap[visible].mean()) if bool(visible.any()) else 0.0


def at_logits(truth: Tensor, side: int) -> Tensor:
    """Return ``bool [..., S, S]`` masks at the logits' resolution, ``bool [..., side, side]``."""
    pooled = nn.functional.adaptive_avg_pool2d(truth.flatten(0, -3)[:, None].float(), (side, side)) > 0.5
    return pooled.view(*truth.shape[:-2], side, side)


def mean_of(losses: list[FrameLoss], part: str) -> float:
    """Return the mean of one part of some losses."""
    return float(torch.stack([getattr(loss, part).detach() for loss in losses]).mean())


def export_weights(average: dict[str, Tensor], path: Path) -> None:
    """Write the averaged weights in half precision, in the format of sam2's checkpoints."""
    half = {name: part.half() if part.is_floating_point() else part for name, part in average.items()}
    torch.save({"model": half}, path)
