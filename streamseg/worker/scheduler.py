"""Which streams' frames go through the tracker together: those that were served longest ago first, a bounded number.

A turn's masks are all ready at its end, so a turn of many cameras makes each of them wait for all. Where a batch costs
no less than its frames one by one (a CPU), a turn is one stream: as many frames a second, and a mask is out as soon as
it is known. Where it costs less (a CUDA device), a turn is as many streams as the encoder takes at once.

A stream gives at most one frame a turn, and goes to the end of the line: of N streams, none waits for more than
ceil(N / limit) turns, however fast the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")


class FairScheduler:
    """The order in which streams are served.

    Args:
        limit: Most streams of one turn.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}: a turn has at least one stream")
        self._limit = limit
        self._line: dict[str, None] = {}
        """In order; the first waits longest."""

    def next_batch(self, streams: Collection[str], take: Callable[[str], T | None]) -> dict[str, T]:
        """Take what a turn may have.

        Args:
            streams: All that are open; new ones go to the end of the line.
            take: Gives a stream's frame, or None if it has none: then it keeps its place.
        """
        self._line = {stream: None for stream in self._line if stream in streams} | dict.fromkeys(
            stream for stream in streams if stream not in self._line
        )
        taken: dict[str, T] = {}
        for stream in list(self._line):
            if len(taken) == self._limit:
                break
            frame = take(stream)
            if frame is not None:
                taken[stream] = frame
                del self._line[stream]
                self._line[stream] = None
        return taken
