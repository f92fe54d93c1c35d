"""Trains one model in several processes: each has its own batches, and their gradients are averaged.

On a shared CPU this uses two cores fully, while two threads of one process would wait for each other at every
operation.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from training.rank_watch import OtherRanks, end_with_rank_0

# The whole group may be paused for a long time.
_PATIENCE = datetime.timedelta(days=365)


class Ranks:
    """A group of processes, as seen by one of its members; may have only one member.

    Attributes:
        rank: This member's number, from 0.
        size: Number of members.
    """

    def __init__(self, rank: int = 0, size: int = 1, meeting_point: Path | None = None) -> None:
        self.rank = rank
        self.size = size
        if size > 1:
            distributed.init_process_group(
                "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=size, timeout=_PATIENCE
            )

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over all members; a missing one counts as 0. Blocks until all members call it."""
        if self.size == 1:
            return
        trained = [part for part in parameters if part.requires_grad]
        for part in trained:
            if part.grad is None:
                part.grad = torch.zeros_like(part)
        gradients = [part.grad for part in trained if part.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        pieces = flat.div_(self.size).split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [piece.view_as(part) for piece, part in zip(pieces, gradients, strict=True)])

    def mean(self, *values: float) -> list[float]:
        """Return the mean of each value over all members. Blocks until all members call it."""
        if self.size == 1:
            return list(values)
        numbers: Tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(numbers)
        return (numbers / self.size).tolist()

    def gather(self, value: Any) -> list[Any]:
        """Return every member's value, by rank. Blocks until all members call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


def run_ranks(target: Callable[[argparse.Namespace, Ranks], None], options: argparse.Namespace, size: int) -> None:
    """Call ``target`` in this process as rank 0, and in ``size - 1`` other processes.

    If one of several ranks fails or is killed, all processes end, this one with exit code 1, and the log in
    ``options.out`` has the reason.
    """
    if size == 1:
        target(options, Ranks())
        return
    options.out.mkdir(parents=True, exist_ok=True)
    meeting_point = (options.out / "ranks").resolve()
    meeting_point.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_join, args=(target, options, rank, size, meeting_point)) for rank in range(1, size)
    ]
    for other in others:
        other.start()
    watched = OtherRanks(others, options.out)
    try:
        _join(target, options, 0, size, meeting_point)
    except BaseException as error:  # noqa: BLE001 - interrupts, too: the others wait
        traceback.print_exc()
        watched.end_after(error)
    watched.join()


def _join(
    target: Callable[[argparse.Namespace, Ranks], None],
    options: argparse.Namespace,
    rank: int,
    size: int,
    meeting_point: Path,
) -> None:
    if rank:
        end_with_rank_0(rank, options.out)
    target(options, Ranks(rank, size, meeting_point))
    distributed.destroy_process_group()
