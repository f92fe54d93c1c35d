"""Which rollout each step trains: several are under way, so that consecutive steps see different clips."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from training.batches import Batch
from training.rollout import Rollout


class RolloutQueue:
    """Hands out rollouts in turn; one that is done is replaced by the next batch.

    Args:
        batches: Where they come from.
        device: Where they are trained.
        capacity: Rollouts under way at the most.
        drawn: Batches that were drawn before, by the run that goes on here.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device, capacity: int, drawn: int = 0) -> None:
        self.drawn = drawn
        self._batches = batches
        self._device = device
        self._slots: list[Rollout | None] = [None] * capacity
        self._turn = 0

    def next(self) -> Rollout:
        """Return the rollout whose turn it is.

        Raises:
            StopIteration: there are no more batches.
        """
        index = self._turn % len(self._slots)
        self._turn += 1
        rollout = self._slots[index]
        if rollout is None or rollout.done:
            rollout = Rollout(next(self._batches), self._device)
            self._slots[index] = rollout
            self.drawn += 1
        return rollout
