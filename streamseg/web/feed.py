"""A stream's pictures with their masks, asked for only while somebody watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from streamseg.client import AsyncPairedSubscriber, FramePair


class Feed:
    """The newest picture of one stream, with the masks of the same frame.

    Nothing is subscribed to, and so nothing is encoded by the daemon, while nobody watches.

    Args:
        endpoint: Where the daemon publishes.
        stream: Id of the stream.

    Attributes:
        newest: The newest pair; None before the first one, and while nobody watches.
    """

    def __init__(self, endpoint: str, stream: str) -> None:
        self.newest: FramePair | None = None
        self._endpoint = endpoint
        self._stream = stream
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def watched(self, on_pair: Callable[[], None]) -> Iterator[None]:
        """Keep the feed running, and call ``on_pair`` whenever :attr:`newest` has changed."""
        self._listeners.append(on_pair)
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name=f"feed {self._stream}")
        try:
            yield
        finally:
            self._listeners.remove(on_pair)
            if not self._listeners:
                task, self._task = self._task, None
                task.cancel()
                self.newest = None

    async def next_pair(self, timeout_s: float) -> FramePair:
        """Return the next pair that comes.

        Raises:
            TimeoutError: none came in time.
        """
        came = asyncio.Event()
        with self.watched(came.set):
            async with asyncio.timeout(timeout_s):
                await came.wait()
            assert self.newest is not None
            return self.newest

    async def _follow(self) -> None:
        async with AsyncPairedSubscriber(self._endpoint, streams=[self._stream]) as subscriber:
            async for pair in subscriber:
                self.newest = pair
                for on_pair in self._listeners:
                    on_pair()
