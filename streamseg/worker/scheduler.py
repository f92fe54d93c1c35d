"""Fair scheduling of streams: which frames go through the tracker in one batch.

All masks of a batch are ready at its end, so a large batch makes each camera wait for all others. On a CPU, a batch is
no cheaper than its frames one by one, so it holds one stream: the throughput is the same, and each mask is published at
once. On a CUDA device it is cheaper, and a batch holds as many streams as the encoder takes.

A stream contributes at most one frame to a batch and then goes to the end of the queue: of N streams, none waits for
more than ceil(N / limit) batches, however fast the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")


class FairScheduler:
    """A queue of streams, longest wait first.

    Args:
        limit: Maximum number of streams in a batch.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}: a batch has at least one stream")
        self._limit = limit
        self._queue: dict[str, None] = {}

    def next_batch(self, streams: Collection[str], next_frame: Callable[[str], T | None]) -> dict[str, T]:
        """Return the frames of the next batch by stream.

        Args:
            streams: All open streams; new ones go to the end of the queue.
            next_frame: Returns a stream's next frame, or None if it has none; the stream then keeps its place.
        """
        self._queue = {stream: None for stream in self._queue if stream in streams} | dict.fromkeys(
            stream for stream in streams if stream not in self._queue
        )
        batch: dict[str, T] = {}
        for stream in list(self._queue):
            if len(batch) == self._limit:
                break
            frame = next_frame(stream)
            if frame is not None:
                batch[stream] = frame
                del self._queue[stream]
                self._queue[stream] = None
        return batch
