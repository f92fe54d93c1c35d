"""Runs the encoder and the tracking step as they are: every batch at its own size.

:mod:`streamseg.tracker.compile` runs the very same functions compiled, at a few fixed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from streamseg.tracker.memory_bank import MemoryBank
from streamseg.tracker.step import Features, StepOutput, TrackStep

Progress = Callable[[str, float], None]
"""Told what is being done, and the share that is done."""


class LaneFrame(NamedTuple):
    """One lane's next frame.

    Attributes:
        lane: Its place in the bank.
        frame: The frame's number.
        row: The frame's row in the features.
    """

    lane: int
    frame: int
    row: int


class Engine:
    """Eager: no preparation, any number of lanes in one batch.

    Args:
        step: Holds the model.
        autocast: Precision of the model's arithmetic; None for float32.

    Attributes:
        least_lanes: Lanes that a bank should have from the beginning.
        needs_padding_lane: Whether a lane has to be kept free for padding.
    """

    least_lanes = 1
    needs_padding_lane = False

    def __init__(self, step: TrackStep, autocast: torch.dtype | None) -> None:
        self._step = step
        self._autocast = autocast
        self._device = step.model.device

    def precision(self) -> AbstractContextManager[object]:
        """The context in which the model computes."""
        return nullcontext() if self._autocast is None else torch.autocast(self._device.type, dtype=self._autocast)

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Prepare everything that any later call needs."""

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``."""
        with self.precision():
            return self._step.encode(images)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it, see :meth:`TrackStep.forward`. Lifetime: the caller's."""
        index, own = self._inputs(lanes, features)
        with self.precision():
            out: StepOutput = self._step(bank, index, own, conditioning, masked)
        return out

    def _inputs(self, lanes: Sequence[LaneFrame], features: Features) -> tuple[Tensor, Features]:
        """``[2, B]`` int64 lanes and frames, and each lane's own features."""
        index = torch.tensor(list(zip(*lanes, strict=True))).to(self._device, non_blocking=True)
        return index[:2], features.row(lanes[0].row) if len(lanes) == 1 else features.select(index[2])
