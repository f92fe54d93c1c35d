"""Computes how likely a mask is correct: a calibrated score from the mask and its history.

The model's own IoU prediction does not notice drift: a mask that moved to a look-alike gets 0.9. So a logistic
regression combines it with other *signals* (:data:`SIGNALS`). It is fitted on training clips, per model
(``training/fit_confidence.py``). Everything is computed on the model's device, in a few operations for all objects of
a stream, and nothing is read by the host.

The signals are few on purpose: more of them fit training clips better and real video worse (``docs/tracker.md``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence
from streamseg.tracker.predictor import TrackOutput
from streamseg.tracker.sam2.appearance import BINS
from streamseg.tracker.sam2.memory_policy import stability

SIGNALS: Final = (
    "iou",  # log odds of the predicted IoU
    "overlap",  # share of the mask that other objects of the stream claim, too
    "color",  # share of its colors that it has in common with the object's first tracked mask
    "area",  # how much larger or smaller it is than that mask: absolute value of the log ratio
    "first_quality",  # quality of that mask: predicted IoU times stability
    "mean_quality",  # running means over about ten frames: of quality
    "mean_overlap",  # and of overlap
)
"""Names of the signals, in their order."""
_MEAN_QUALITY: Final = SIGNALS.index("mean_quality")

_PREFIX: Final = "confidence "
_RATE: Final = 0.1
_IOU_MARGIN: Final = 1e-3
_NO_AREA: Final = 1e-6
"""Less than the area of any mask, as a share of the picture."""
_CHROMAS: Final = BINS[1] * BINS[2]
_COLORS: Final = BINS[0] // 2 * _CHROMAS
"""Colors are compared with half as many steps of luma: light changes."""


class _Past(NamedTuple):
    """The past of an object, for any size of the model's input.

    Attributes:
        colors: ``[_COLORS]``; of its first mask.
        area: ``[]``; of its first mask, as a share of the picture; 0 if it had none yet.
        quality: ``[]``; of its first mask.
        means: ``[2]``; the running means.
    """

    colors: Tensor
    area: Tensor
    quality: Tensor
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
    def measure(self, stream: str, output: TrackOutput, picture: Tensor) -> Tensor | None:
        """Return the confidence of each object on the stream's next frame, ``[N]`` in 0..1; 0 without a mask.

        Args:
            stream: The stream.
            output: Its objects.
            picture: ``[2h, 2w]``; the frame's colors, see :func:`streamseg.tracker.sam2.appearance.colors_of`.

        Returns:
            None if the model has no confidence.
        """
        return None if self._weights is None else self._confidence(output, self.signals(stream, output, picture))

    @torch.inference_mode()
    def measure_prompted(self, output: TrackOutput) -> Tensor | None:
        """Return the same for a new mask from a prompt, from the mask alone; the object's past is dropped."""
        return None if self._weights is None else self._confidence(output, _signals_alone(output))

    @torch.inference_mode()
    def signals(self, stream: str, output: TrackOutput, picture: Tensor) -> Tensor:
        """Return the signals of each object, ``[N, len(SIGNALS)]``, and remember what the next frame needs."""
        alone = _signals_alone(output)
        if not output.obj_ids:
            return alone
        found = output.mask_logits > 0
        area, colors = found.flatten(1).float().mean(1), _colors(found, picture)
        claimed = (found & (found.sum(0) > 1)).flatten(1).float().mean(1)
        overlap = claimed / area.clamp(min=_NO_AREA)
        now = torch.stack([alone[:, _MEAN_QUALITY], overlap], dim=1)
        past = self._recall(stream, output.obj_ids, _Past(colors, area, alone[:, _MEAN_QUALITY], now))
        means = past.means + _RATE * (now - past.means)
        common = torch.minimum(colors, past.colors).sum(1)
        change = (area.clamp(min=_NO_AREA) / past.area.clamp(min=_NO_AREA)).log().abs()
        for row, obj_id in enumerate(output.obj_ids):
            kept = past._replace(means=torch.where(area[:, None] > 0, means, past.means))
            self._past[stream, obj_id] = _Past(*(values[row] for values in kept))
        return torch.stack([alone[:, 0], overlap, common, change, past.quality, *means.unbind(1)], dim=1)

    def export(self, stream: str, obj_id: int) -> dict[str, Tensor]:
        """Copy an object's past to the host; empty if it has none."""
        past = self._past.get((stream, obj_id))
        return {} if past is None else {_PREFIX + name: value.cpu() for name, value in past._asdict().items()}

    def take(self, stream: str, obj_id: int, memory: dict[str, Tensor]) -> None:
        """Take an object's past from memory that includes the result of :meth:`export`, if it is there."""
        found = {name: memory.pop(name).to(self._device) for name in list(memory) if name.startswith(_PREFIX)}
        past = {name.removeprefix(_PREFIX): value for name, value in found.items()}
        if past.keys() == set(_Past._fields):  # that of an earlier version has others
            self._past[stream, obj_id] = _Past(**past)

    def forget(self, stream: str, obj_id: int) -> None:
        """Drop an object's past: it is gone, or a prompt has redefined it."""
        self._past.pop((stream, obj_id), None)

    def close(self, stream: str) -> None:
        """Drop the past of all objects of a stream."""
        for key in [key for key in self._past if key[0] == stream]:
            del self._past[key]

    def _recall(self, stream: str, obj_ids: tuple[int, ...], new: _Past) -> _Past:
        """Return the past of the objects, ``[N, ...]``: their rows of ``new`` until they have had a mask."""
        held = [
            self._past.get((stream, obj_id)) or _Past(*(values[row] for values in new))
            for row, obj_id in enumerate(obj_ids)
        ]
        past = _Past(*(torch.stack(values) for values in zip(*held, strict=True)))
        began = past.area > 0
        return _Past(
            *(
                torch.where(began if old.dim() == 1 else began[:, None], old, fresh)
                for old, fresh in zip(past, new, strict=True)
            )
        )

    def _confidence(self, output: TrackOutput, signals: Tensor) -> Tensor:
        assert self._weights is not None
        confidence = torch.sigmoid(signals @ self._weights + self._bias)
        visible = (output.object_score_logits > 0) & (output.mask_logits > 0).flatten(1).any(1)
        return torch.where(visible, confidence, 0.0)


def _signals_alone(output: TrackOutput) -> Tensor:
    """Return the signals of a mask without a past: it is the object's first one, and no other object claims it."""
    iou = output.iou_prediction.float()
    quality = iou * stability(output.mask_logits.float())
    one, none = torch.ones_like(iou), torch.zeros_like(iou)
    return torch.stack([torch.logit(iou, eps=_IOU_MARGIN), none, one, none, quality, quality, none], dim=1)


def _colors(found: Tensor, picture: Tensor) -> Tensor:
    """Return the colors of each mask ``[N, h, w]``: ``[N, _COLORS]``, shares that add up to 1; all 0 if it is empty."""
    cells = picture[::2, ::2].flatten().long()
    place = cells // _CHROMAS // 2 * _CHROMAS + cells % _CHROMAS
    shares = found.flatten(1).float()
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    return torch.zeros(len(found), _COLORS, device=found.device).index_add_(1, place, shares)
