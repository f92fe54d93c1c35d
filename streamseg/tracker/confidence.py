"""Computes how likely a mask is correct: a calibrated score from the mask and its history.

The model's own IoU prediction does not notice drift: a mask that moved to a look-alike gets 0.9. So a logistic
regression combines it with other *signals* (:data:`SIGNALS`). It is fitted on training clips, per model
(``training/fit_confidence.py``). Everything is computed on the model's device, in a few operations for all objects of
a stream, and nothing is read by the host.

The signals are few on purpose: what gained nothing on real video was left out (``docs/tracker.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import Confidence
from streamseg.tracker.predictor import TrackOutput
from streamseg.tracker.sam2.appearance import COLORS, blurred
from streamseg.tracker.sam2.memory_policy import stability

SIGNALS: Final = (
    "iou",  # log odds of the predicted IoU
    "overlap",  # share of the mask that other objects of the stream claim, too
    "color",  # share of its colors that it has in common with the object's first tracked mask
    "area",  # how much larger or smaller it is than that mask: absolute value of the log ratio, at most log 8
    "first_quality",  # quality of that mask: predicted IoU times stability
    "mean_quality",  # running means over about ten frames: of quality
    "mean_overlap",  # and of overlap
)
"""Names of the signals, in their order."""

_PREFIX: Final = "confidence "
_RATE: Final = 0.1
_IOU_MARGIN: Final = 1e-3
_NO_AREA: Final = 1e-6
"""Less than any mask has, as a share of the picture: one cell of the largest model input has 4e-6."""
_MAX_CHANGE: Final = math.log(8)
"""The fit saw few larger changes of area."""


class _Past(NamedTuple):
    """The past of an object, for any size of the model's input.

    Attributes:
        colors: ``[COLORS]``; of its first mask.
        area: ``[]``; of its first mask, as a share of the picture; 0 if it had none yet.
        quality: ``[]``; of its first mask.
        means: ``[2]``; the running means.
    """

    colors: Tensor
    area: Tensor
    quality: Tensor
    means: Tensor


_SHAPES: Final = {"colors": (COLORS,), "area": (), "quality": (), "means": (2,)}


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
    def measure(self, stream: str, output: TrackOutput, picture: Callable[[], Tensor]) -> Tensor | None:
        """Return the confidence of each object on the stream's next frame, ``[N]`` in 0..1; 0 without a mask.

        Args:
            stream: The stream.
            output: Its objects.
            picture: Returns the frame's colors ``[2h, 2w]``, see :func:`~streamseg.tracker.sam2.appearance.colors_of`.

        Returns:
            None if the model has no confidence.
        """
        if self._weights is None:
            return None
        visible = _visible(output)
        return self._confidence(self._signals(stream, output, picture(), visible), visible)

    @torch.inference_mode()
    def measure_prompted(self, output: TrackOutput) -> Tensor | None:
        """Return the same for a new mask from a prompt, from the mask alone; the object's past is dropped."""
        return None if self._weights is None else self._confidence(_signals_alone(output), _visible(output))

    @torch.inference_mode()
    def signals(self, stream: str, output: TrackOutput, picture: Tensor) -> Tensor:
        """Return the signals of each object, ``[N, len(SIGNALS)]``, and remember what the next frame needs."""
        return self._signals(stream, output, picture, _visible(output))

    def export(self, stream: str, obj_id: int) -> dict[str, Tensor]:
        """Copy an object's past to the host; empty if it has none."""
        past = self._past.get((stream, obj_id))
        return {} if past is None else {_PREFIX + name: value.cpu() for name, value in past._asdict().items()}

    def take(self, stream: str, obj_id: int, memory: dict[str, Tensor]) -> None:
        """Take an object's past from memory that includes the result of :meth:`export`.

        Without it, or if it is damaged or of another version, the object begins with its next mask.
        """
        self.forget(stream, obj_id)
        found = {name.removeprefix(_PREFIX): memory.pop(name) for name in list(memory) if name.startswith(_PREFIX)}
        if found.keys() == _SHAPES.keys() and all(_is_sound(found[name], shape) for name, shape in _SHAPES.items()):
            self._past[stream, obj_id] = _Past(**{name: value.to(self._device) for name, value in found.items()})

    def forget(self, stream: str, obj_id: int) -> None:
        """Drop an object's past: it is gone, or a prompt has redefined it."""
        self._past.pop((stream, obj_id), None)

    def close(self, stream: str) -> None:
        """Drop the past of all objects of a stream."""
        for key in [key for key in self._past if key[0] == stream]:
            del self._past[key]

    def _signals(self, stream: str, output: TrackOutput, picture: Tensor, visible: Tensor) -> Tensor:
        if not output.obj_ids:
            return _signals_alone(output)
        found, quality = output.mask_logits > 0, _quality(output)
        area, colors = _share(found), _colors(found, picture)
        overlap = _share(found & (found.sum(0) > 1)) / area.clamp(min=_NO_AREA)
        now = torch.stack([quality, overlap], dim=1)
        past = self._recall(stream, output.obj_ids, _Past(colors, torch.where(visible, area, 0.0), quality, now))
        means = torch.where(visible[:, None], past.means + _RATE * (now - past.means), past.means)
        common = torch.minimum(colors, past.colors).sum(1)
        ratio = area.clamp(min=_NO_AREA) / past.area.clamp(min=_NO_AREA)
        for row, obj_id in enumerate(output.obj_ids):
            self._past[stream, obj_id] = _Past(*(values[row] for values in past._replace(means=means)))
        change = ratio.log().abs().clamp(max=_MAX_CHANGE)
        return torch.stack([_log_odds(output), overlap, common, change, past.quality, *means.unbind(1)], dim=1)

    def _recall(self, stream: str, obj_ids: tuple[int, ...], now: _Past) -> _Past:
        """Return the past of the objects, ``[N, ...]``: their rows of ``now`` until they have had a mask."""
        held = [
            self._past.get((stream, obj_id)) or _Past(*(values[row] for values in now))
            for row, obj_id in enumerate(obj_ids)
        ]
        past = _Past(*(torch.stack(values) for values in zip(*held, strict=True)))
        began = past.area > 0
        return _Past(
            *(
                torch.where(began if before.dim() == 1 else began[:, None], before, fresh)
                for before, fresh in zip(past, now, strict=True)
            )
        )

    def _confidence(self, signals: Tensor, visible: Tensor) -> Tensor:
        assert self._weights is not None
        confidence = torch.sigmoid(signals @ self._weights + self._bias)
        return torch.where(visible, confidence, 0.0)


def _signals_alone(output: TrackOutput) -> Tensor:
    """Return the signals of masks as if each were its object's first one, and claimed by no other object."""
    quality = _quality(output)
    one, none = torch.ones_like(quality), torch.zeros_like(quality)
    return torch.stack([_log_odds(output), none, one, none, quality, quality, none], dim=1)


def _visible(output: TrackOutput) -> Tensor:
    """Return which objects have a mask that is published, ``[N]``."""
    return (output.object_score_logits > 0) & (output.mask_logits > 0).flatten(1).any(1)


def _quality(output: TrackOutput) -> Tensor:
    return output.iou_prediction.float() * stability(output.mask_logits.float())


def _log_odds(output: TrackOutput) -> Tensor:
    return torch.logit(output.iou_prediction.float(), eps=_IOU_MARGIN)


def _share(masks: Tensor) -> Tensor:
    """Return the part of the picture that each mask ``[N, h, w]`` covers."""
    return masks.flatten(1).float().mean(1)


def _colors(found: Tensor, picture: Tensor) -> Tensor:
    """Return the colors of each mask ``[N, h, w]``: ``[N, COLORS]``, shares that add up to 1; all 0 if it is empty.

    Of the four pixels of a cell the first one counts. Neighboring colors share their counts, because light changes.
    """
    cells = picture[::2, ::2].flatten().long()
    counts = torch.zeros(len(found), COLORS, device=found.device).index_add_(1, cells, found.flatten(1).float())
    return blurred(counts)


def _is_sound(value: Tensor, shape: tuple[int, ...]) -> bool:
    return value.shape == shape and value.dtype == torch.float32 and bool(value.isfinite().all())
