"""Decides which rollout each step trains. Several take turns, so that consecutive steps see different clips."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from training.batches import Batch
from training.rollout import Rollout


class RolloutQueue:
    """Returns rollouts in turn; a finished one is replaced by the next batch.

    Args:
        batches: Source of batches.
        device: Device to train on.
        capacity: Maximum number of unfinished rollouts.
        drawn: Number of batches that a resumed run has already drawn.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device, capacity: int, drawn: int = 0) -> None:
        self.drawn = drawn
        self._batches = batches
        self._device = device
        self._slots: list[Rollout | None] = [None] * capacity
        self._turn = 0

    def next(self) -> Rollout:
        """Return the next rollout.

        Raises:
            StopIteration: the batches are used up.
        """
        index = self._turn % len(self._slots)
        self._turn += 1
        rollout = self._slots[index]
        if rollout is None or rollout.done:
            rollout = Rollout(next(self._batches), self._device)
            self._slots[index] = rollout
            self.drawn += 1
        return rollout
