"""Makes batches of clips on the fly. A batch depends only on the run's seed and its number, not on the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.clip import compose_clip
from training.material import Material
from training.prompts import PromptKind
from training.scene_clips import TRAINING_SEEDS, compose_scene_clip
from training.schedule import Phase

_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)
_KINDS: tuple[PromptKind, ...] = ("mask", "box", "point")


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one batch."""

    step: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one batch.

    Attributes:
        request: Its request.
        images: ``uint8 [T, B, S, S, 3]``, RGB.
        lane_clips: ``int64 [L]``: the clip of each lane, which is a (clip, object) pair.
        truth: ``bool [L, T, S, S]``.
        kind: Kind of the prompts.
        corrections: Number of clicks after the prompt.
        window: Number of frames trained at a time.
        asides: Additional prompts on single frames in each window.
    """

    request: Request
    images: Tensor
    lane_clips: Tensor
    truth: Tensor
    kind: PromptKind
    corrections: int
    window: int
    asides: int


def make_batch(material: Material, seed: int, request: Request, scene_seeds: range = TRAINING_SEEDS) -> Batch:
    """Compose one batch; the same arguments give the same batch.

    Args:
        material: Material of composed clips.
        seed: Seed of the run.
        request: Number and phase of the batch.
        scene_seeds: Seeds of generated scenes.
    """
    rng = np.random.default_rng([seed, request.step])
    phase = request.phase
    kind = _KINDS[rng.choice(len(_KINDS), p=phase.prompt_shares)]
    is_long = rng.random() < phase.long_share
    low, high = (phase.long_min, phase.long_max) if is_long else (phase.frames_min, phase.frames_max)
    frames = int(rng.integers(low, high + 1))
    window = phase.long_window if is_long else frames
    gap_max = phase.long_gap_max if is_long else phase.gap_max
    side_px = int(rng.choice(phase.sides_px)) if len(phase.sides_px) > 1 else phase.sides_px[0]
    clips = []
    for _ in range(max(1, phase.frame_budget // window)):
        gap = float(np.exp(rng.uniform(np.log(0.3), np.log(gap_max))))
        size = {"frames": frames, "side_px": side_px, "max_objects": phase.objects_per_clip}
        if rng.random() < phase.scene_share:
            clips.append(compose_scene_clip(rng, gap=gap, seeds=scene_seeds, **size))
        else:
            clips.append(compose_clip(material, rng, gap=gap, vanish_share=phase.vanish_share, **size))
    return Batch(
        request,
        torch.from_numpy(np.stack([clip.frames for clip in clips], 1)),
        torch.tensor([index for index, clip in enumerate(clips) for _ in clip.masks]),
        torch.from_numpy(np.concatenate([clip.masks for clip in clips])),
        kind,
        int(rng.integers(1, 3)) if kind != "mask" and rng.random() < phase.correction_share else 0,
        window,
        phase.asides,
    )


def normalize(images: Tensor) -> Tensor:
    """Turn ``uint8 [T, B, S, S, 3]`` into model input, ``float32 [T, B, 3, S, S]`` with channels last in memory."""
    mean, std = (torch.tensor(values, device=images.device) for values in (_PIXEL_MEAN, _PIXEL_STD))
    return images.float().sub_(mean).div_(std).permute(0, 1, 4, 2, 3)


class BatchDataset(Dataset[Batch]):
    """Makes the batch of a :class:`Request`, in any process."""

    def __init__(self, material: Material, seed: int) -> None:
        self._material = material
        self._seed = seed

    def __getitem__(self, request: Any) -> Batch:
        """Return :func:`make_batch` of that request."""
        return make_batch(self._material, self._seed, request)
