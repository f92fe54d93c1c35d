"""Computes how likely a mask is correct: a calibrated score from the mask and its history.

The model's own IoU prediction does not notice drift: a mask that moved to a look-alike gets 0.9. So a logistic
regression combines it with other *signals* (:data:`SIGNALS`). It is fitted on training clips, per model
(``training/fit_confidence.py``). Everything is computed on the model's device, in a few operations for all objects of
a stream, and nothing is read by the host.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence
from streamseg.tracker.predictor import TrackOutput
from streamseg.tracker.sam2.memory_policy import stability

SIGNALS: Final = (
    "iou",  # log odds of the predicted IoU
    "presence",  # object score, clamped and scaled
    "stability",  # IoU of the mask cut a little above and below its border
    "sharpness",  # mean probability of the mask's pixels
    "continuity",  # IoU with the object's last mask
    "overlap",  # share of the mask that other objects of the stream claim, too
    "likeness",  # similarity to the first tracked frame, of image features inside the mask minus outside
    "mean_quality",  # running means over about ten frames: of predicted IoU times stability,
    "mean_continuity",  # of continuity,
    "mean_overlap",  # of overlap,
    "mean_likeness",  # and of likeness
)
"""Names of the signals, in their order."""

_PREFIX: Final = "confidence "
_RATE: Final = 0.1
_SCORE_LIMIT: Final = 10.0
_SCORE_SCALE: Final = 5.0
_IOU_MARGIN: Final = 1e-3


class _Past(NamedTuple):
    """The past of an object: its last mask ``[h, w]``, its first look ``[C]``, the running means ``[4]``."""

    mask: Tensor
    look: Tensor
    means: Tensor


class ConfidenceMeter:
    """Measures the confidence of the objects of some streams, frame by frame.

    Args:
        fitted: The model's regression; None if it has none, and so no confidence.
        device: Device of the model.

    Raises:
        ModelError: The regression uses unknown signals.
    """

    def __init__(self, fitted: Confidence | None, device: torch.device) -> None:
        self._past: dict[tuple[str, int], _Past] = {}
        self._device = device
        self._weights: Tensor | None = None
        self._bias = 0.0
        if fitted is None:
            return
        if unknown := set(fitted.signals) - set(SIGNALS):
            raise ModelError(f"the model's confidence uses unknown signals: {', '.join(sorted(unknown))}: fit it again")
        by_name = dict(zip(fitted.signals, fitted.weights, strict=True))
        self._weights = torch.tensor([by_name.get(name, 0.0) for name in SIGNALS], device=device)
        self._bias = fitted.bias

    @torch.inference_mode()
    def measure(self, stream: str, output: TrackOutput, top: Tensor) -> Tensor | None:
        """Return the confidence of each object on the stream's next frame, ``[N]`` in 0..1; 0 without a mask.

        Args:
            stream: The stream.
            output: Its objects.
            top: ``[tokens, C]``; the frame's features.

        Returns:
            None if the model has no confidence.
        """
        return None if self._weights is None else self._confidence(output, self.signals(stream, output, top))

    @torch.inference_mode()
    def measure_prompted(self, output: TrackOutput) -> Tensor | None:
        """Return the same for a new mask from a prompt, from the mask alone; the object's past is dropped."""
        return None if self._weights is None else self._confidence(output, _signals_alone(output))

    @torch.inference_mode()
    def signals(self, stream: str, output: TrackOutput, top: Tensor) -> Tensor:
        """Return the signals of each object, ``[N, len(SIGNALS)]``, and remember what the next frame needs."""
        alone = _signals_alone(output)
        if not output.obj_ids:
            return alone
        found = output.mask_logits > 0
        look = _look(found, top.float())
        overlap = _share(found & (found.sum(0) > 1), found)
        past = self._recall(stream, output.obj_ids, found, look)
        continuity = _iou(found, past.mask)
        likeness = functional.cosine_similarity(look, past.look)
        quality = output.iou_prediction.float() * alone[:, 2]
        now = torch.stack([quality, continuity, overlap, likeness], dim=1)
        means = torch.where(past.means.isnan(), now, past.means + _RATE * (now - past.means))
        for row, obj_id in enumerate(output.obj_ids):
            visible = found[row].any()
            self._past[stream, obj_id] = _Past(
                torch.where(visible, found[row], past.mask[row]),
                past.look[row],
                torch.where(visible, means[row], past.means[row]),
            )
        return torch.cat([alone[:, :4], now[:, 1:], means], dim=1)

    def export(self, stream: str, obj_id: int) -> dict[str, Tensor]:
        """Copy an object's past to the host; empty if it has none."""
        past = self._past.get((stream, obj_id))
        return {} if past is None else {_PREFIX + name: value.cpu() for name, value in past._asdict().items()}

    def take(self, stream: str, obj_id: int, memory: dict[str, Tensor]) -> None:
        """Take an object's past from memory that includes the result of :meth:`export`, if it is there."""
        found = {name: memory.pop(_PREFIX + name, None) for name in _Past._fields}
        past = {name: value.to(self._device) for name, value in found.items() if value is not None}
        if len(past) == len(_Past._fields):
            self._past[stream, obj_id] = _Past(**past)

    def forget(self, stream: str, obj_id: int) -> None:
        """Drop an object's past: it is gone, or a prompt has redefined it."""
        self._past.pop((stream, obj_id), None)

    def close(self, stream: str) -> None:
        """Drop the past of all objects of a stream."""
        for key in [key for key in self._past if key[0] == stream]:
            del self._past[key]

    def _recall(self, stream: str, obj_ids: tuple[int, ...], found: Tensor, look: Tensor) -> _Past:
        """Return the past of the objects, ``[N, ...]``; a new object is compared with itself."""
        unknown = torch.full((4,), math.nan, device=found.device)
        held = [
            self._past.get((stream, obj_id)) or _Past(found[row], look[row], unknown)
            for row, obj_id in enumerate(obj_ids)
        ]
        return _Past(*(torch.stack(values) for values in zip(*held, strict=True)))

    def _confidence(self, output: TrackOutput, signals: Tensor) -> Tensor:
        assert self._weights is not None
        confidence = torch.sigmoid(signals @ self._weights + self._bias)
        visible = (output.object_score_logits > 0) & (output.mask_logits > 0).flatten(1).any(1)
        return torch.where(visible, confidence, 0.0)


def _signals_alone(output: TrackOutput) -> Tensor:
    """Return the signals of a mask without a past, with perfect continuity and likeness."""
    logits, iou = output.mask_logits.float(), output.iou_prediction.float()
    found = logits > 0
    steady = stability(logits)
    sharpness = (torch.sigmoid(logits) * found).flatten(1).sum(1) / found.flatten(1).sum(1).clamp(min=1)
    presence = output.object_score_logits.float().clamp(-_SCORE_LIMIT, _SCORE_LIMIT) / _SCORE_SCALE
    one, none = torch.ones_like(iou), torch.zeros_like(iou)
    odds = torch.logit(iou, eps=_IOU_MARGIN)
    return torch.stack([odds, presence, steady, sharpness, one, none, one, iou * steady, one, none, one], dim=1)


def _look(found: Tensor, top: Tensor) -> Tensor:
    """Return the mean features inside minus outside each mask ``[N, h, w]``: ``[N, C]``."""
    side = math.isqrt(len(top))
    inside = functional.adaptive_avg_pool2d(found.float()[:, None], side).flatten(1)
    outside = 1 - inside
    return _mean(inside, top) - _mean(outside, top)


def _mean(weights: Tensor, top: Tensor) -> Tensor:
    return weights @ top / weights.sum(1, keepdim=True).clamp(min=_IOU_MARGIN)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.flatten(1).sum(1).float() / whole.flatten(1).sum(1).clamp(min=1)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of masks ``[N, h, w]``; 1 if both are empty."""
    union = (a | b).flatten(1).sum(1)
    return torch.where(union > 0, (a & b).flatten(1).sum(1) / union.clamp(min=1), 1.0)
