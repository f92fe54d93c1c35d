"""Pictures and masks of one stream, subscribed to only while someone watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from streamseg.client import AsyncPairedSubscriber, FramePair
from streamseg.common.draw import draw_jpeg

_SMOOTHING: Final = 0.2
_WARM_S: Final = 5.0


class Feed:
    """The newest picture of one stream with the masks of the same frame.

    The subscription exists only while there are watchers, so that the daemon does not encode pictures needlessly.

    Args:
        endpoint: Where the daemon publishes.
        stream: Id of the stream.

    Attributes:
        newest: The newest pair; None before the first one and while there are no watchers.
        arrived_s: When it arrived, in seconds of the event loop's clock.
        period_s: Time between two pairs, averaged over the last few; None until it is known.
    """

    def __init__(self, endpoint: str, stream: str) -> None:
        self.newest: FramePair | None = None
        self.arrived_s = 0.0
        self.period_s: float | None = None
        self._endpoint = endpoint
        self._stream = stream
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._drawing: tuple[FramePair, asyncio.Task[bytes]] | None = None

    @contextlib.contextmanager
    def watched(self, on_pair: Callable[[], None]) -> Iterator[None]:
        """Watch the feed for the duration of the block; ``on_pair`` is called whenever :attr:`newest` changes."""
        self._listeners.append(on_pair)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"feed {self._stream}")
        try:
            yield
        finally:
            self._listeners.remove(on_pair)
            if not self._listeners:
                task, self._task = self._task, None
                task.cancel()
                self.newest = self.period_s = None

    async def warm_up(self) -> None:
        """Watch the feed for a few seconds, so that a page that is being opened gets a picture at once."""
        if not self._listeners:
            with self.watched(lambda: None):
                await asyncio.sleep(_WARM_S)

    async def next_pair(self, timeout_s: float) -> FramePair:
        """Wait for the next pair.

        Raises:
            TimeoutError: None arrived in time.
        """
        arrived = asyncio.Event()
        with self.watched(arrived.set):
            async with asyncio.timeout(timeout_s):
                await arrived.wait()
            assert self.newest is not None
            return self.newest

    async def overlay_jpeg(self, pair: FramePair) -> bytes:
        """Return a picture with its masks drawn over it, as JPEG; the newest one is drawn once for all callers.

        Raises:
            ProtocolError: The picture or a mask cannot be decoded.
        """
        if self._drawing is None or self._drawing[0] is not pair:
            self._drawing = pair, asyncio.create_task(asyncio.to_thread(_draw, pair))
        try:
            return await asyncio.shield(self._drawing[1])  # others may wait for it, too
        finally:
            if not self._listeners:
                self._drawing = None

    def _note_arrival(self, now: float) -> None:
        if self.newest is not None:
            gap = now - self.arrived_s
            self.period_s = gap if self.period_s is None else self.period_s + _SMOOTHING * (gap - self.period_s)
        self.arrived_s = now

    async def _run(self) -> None:
        async with AsyncPairedSubscriber(self._endpoint, streams=[self._stream]) as subscriber:
            async for pair in subscriber:
                self._note_arrival(asyncio.get_running_loop().time())
                self.newest = pair
                for on_pair in self._listeners:
                    on_pair()


def _draw(pair: FramePair) -> bytes:
    return draw_jpeg(pair.image.rgb, pair.masks.objects)
