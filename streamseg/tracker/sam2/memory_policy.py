"""Decides which tracked frames an object remembers.

``sam2`` reads the newest frames regardless of their masks, so after a wrong mask the object becomes something else. The
other policies choose. Everything is tensor arithmetic inside the batched step: no shape depends on a choice, and the
host reads no value.

- ``gated`` follows SAMURAI (Yang et al. 2024): it reads the newest frames whose mask was good. "Good" is relative to
  the object's own level, because fast and small objects always have low scores; and the level is taken from a window of
  frames, so that memory never freezes for longer than the window.
- ``distractor`` follows DAM4SAM (Videnovic et al. 2025): fewer recent frames, plus *anchors*, frames on which the model
  saw a second candidate beside the object and was still sure of its own.
- ``contact`` compares objects of a stream by their colors, and look-alikes by their motion: where they touch, masks
  give way to each other; frames on which that failed, or the object was not seen, are not read
  (:mod:`streamseg.tracker.sam2.appearance`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, get_args

import msgspec
import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.models.tuning import MemoryPolicyName, MemoryThresholds

POLICY_NAMES: Final[tuple[MemoryPolicyName, ...]] = get_args(MemoryPolicyName)

NEVER: Final = -(1 << 40)
"""Frame number of an empty slot: older than any frame in a ring, and an exact integer in every type."""

_DEFAULTS: Final = MemoryThresholds()
_STABILITY_OFFSET: Final = 1.0
"""Logits within this of 0 are undecided (as in SAM's automatic mask generator)."""


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """A policy with its thresholds. A dataclass, because the tracking step that holds it is compiled.

    Attributes:
        name: Its name.
        window: ``gated`` and ``contact``: frames before the current one from which memory is chosen.
        share: ``gated``: a frame is good with at least this share of the mean quality of the window's frames.
        anchors: ``distractor``: number of anchors; they replace as many recent frames.
        rival: ``distractor``: a frame becomes an anchor if the second candidate adds this share to the union of both
            masks,
        sure: ``distractor``: and if the quality of the object's own mask is at least this.
        spacing: ``distractor``: minimum number of frames between two anchors.
    """

    name: MemoryPolicyName = "sam2"
    window: int = _DEFAULTS.window
    share: float = _DEFAULTS.share
    anchors: int = _DEFAULTS.anchors
    rival: float = _DEFAULTS.rival
    sure: float = _DEFAULTS.sure
    spacing: int = _DEFAULTS.spacing

    @property
    def anchor_slots(self) -> int:
        """Slots for anchors in the memory bank."""
        return self.anchors if self.name == "distractor" else 0

    @property
    def skips_frames(self) -> bool:
        """Whether slots may be empty although their frames were tracked."""
        return self.name != "sam2"

    @property
    def chooses_from_window(self) -> bool:
        """Whether the newest *good* frames of a window are read."""
        return self.name in ("gated", "contact")

    @property
    def compares_colors(self) -> bool:
        """Whether masks give way to other objects of their stream."""
        return self.name == "contact"


SAM2: Final = MemoryPolicy()
"""The policy of the reference."""


def policy_of(name: str, thresholds: MemoryThresholds) -> MemoryPolicy:
    """Return the policy of that name with a model's thresholds.

    Raises:
        ModelError: There is none of that name.
    """
    for known in POLICY_NAMES:
        if known == name:
            return MemoryPolicy(known, **msgspec.structs.asdict(thresholds))
    raise ModelError(f"memory policy {name!r} is unknown: expected one of {', '.join(POLICY_NAMES)}")


class Chosen(NamedTuple):
    """Ring slots to read, ``[B, N]`` each: index in the ring, whether it is valid, age for its encoding."""

    slots: Tensor
    valid: Tensor
    age: Tensor


def mask_quality(mask_logits: Tensor, iou_prediction: Tensor, object_score_logits: Tensor) -> Tensor:
    """Return the quality of masks, ``[B]`` in 0..1: predicted IoU times stability; 0 if the object is not seen.

    Args:
        mask_logits: ``[B, h, w]``.
        iou_prediction: ``[B]``.
        object_score_logits: ``[B]``.
    """
    seen = (object_score_logits > 0).float()
    return seen * iou_prediction.float() * stability(mask_logits)


def stability(mask_logits: Tensor) -> Tensor:
    """Return the IoU of each mask ``[B, h, w]`` cut at two logits, a little above and below 0: ``[B]``."""
    inner = (mask_logits > _STABILITY_OFFSET).flatten(1).float().sum(1)
    outer = (mask_logits > -_STABILITY_OFFSET).flatten(1).float().sum(1)
    return inner / outer.clamp(min=1)


def newest(frames: Tensor, ring_frame: Tensor, ages: Tensor) -> Chosen:
    """Choose the frames just before each lane's current one, as SAM 2 does.

    Args:
        frames: ``[B]``; the current frames.
        ring_frame: ``[B, slots]``; the frame that each slot holds.
        ages: ``[N]``: 1, 2, ...
    """
    wanted = frames[:, None] - ages
    slots = wanted % ring_frame.shape[1]
    return Chosen(slots, ring_frame.gather(1, slots) == wanted, ages.expand_as(wanted))


def newest_good(frames: Tensor, ring_frame: Tensor, ages: Tensor, quality: Tensor, policy: MemoryPolicy) -> Chosen:
    """Choose the newest frames with good masks for this object, encoded as if they were the last frames.

    Args:
        frames: ``[B]``; the current frames.
        ring_frame: ``[B, slots]``; the frame that each slot holds.
        ages: ``[N]``: 1, 2, ...
        quality: ``[B, slots]``; quality of each frame's mask.
        policy: Has the thresholds.
    """
    age = frames[:, None] - ring_frame
    seen = (age >= 1) & (age <= policy.window) & (quality > 0)
    level = (quality * seen).sum(1) / seen.sum(1).clamp(min=1)
    good = seen & (quality >= policy.share * level[:, None])
    nearest, slots = torch.where(good, age, -NEVER).topk(len(ages), dim=1, largest=False, sorted=True)
    return Chosen(slots, nearest < -NEVER, ages.expand_as(slots))
