"""Everything that the daemon publishes, followed once for all browsers and programs that ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from streamseg.client import (
    AsyncSubscriber,
    DaemonStatusMessage,
    EventMessage,
    Message,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.web.feed import Feed
from streamseg.web.stream_view import StreamView

SILENCE_S: Final = 3.0
"""A daemon that said nothing for so long is down or out of reach (docs/protocol.md)."""

_EVENTS_KEPT: Final = 50


class Listener(Protocol):
    """Is told what the daemon says, as it comes. Must not block."""

    def on_daemon(self, status: DaemonStatusMessage) -> None:
        """The daemon's state, once a second."""
        ...

    def on_status(self, status: StatusMessage) -> None:
        """A stream's state, once a second."""
        ...

    def on_event(self, event: EventMessage) -> None:
        """Something happened."""
        ...


class Hub:
    """What the daemon says.

    Args:
        endpoint: Where the daemon publishes.

    Attributes:
        daemon: The daemon's newest status; None before the first.
        streams: Id -> what is known of the stream.
        events: The newest events, oldest first.
    """

    def __init__(self, endpoint: str) -> None:
        self.daemon: DaemonStatusMessage | None = None
        self.streams: dict[str, StreamView] = {}
        self.events: deque[EventMessage] = deque(maxlen=_EVENTS_KEPT)
        self._endpoint = endpoint
        self._heard_at = 0.0
        self._flowing = asyncio.Event()
        self._listeners: list[Listener] = []

    async def run(self) -> None:
        """Follow the daemon until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_state())
            tasks.create_task(self._follow_objects())

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Tell a listener from now on."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def missing(self) -> list[str]:
        """What has to be there before the daemon works; empty if it does."""
        if self.daemon is None or time.monotonic() - self._heard_at > SILENCE_S:
            return ["the publisher: no status came within 3 s"]
        processes = self.daemon.processes
        return [
            f"{name}: {processes.get(name, 'unknown')}"
            for name in ("publisher", "worker")
            if processes.get(name) != "ready"
        ]

    async def _follow_state(self) -> None:
        async with AsyncSubscriber(self._endpoint, kinds=("events", "status")) as subscriber:
            async for message in subscriber:
                self._take(message)

    async def _follow_objects(self) -> None:
        """Follow objects once frames flow: before, it would start sources that wait for a subscriber."""
        await self._flowing.wait()
        async with AsyncSubscriber(self._endpoint, kinds=("objects",), mode="all") as subscriber:
            async for message in subscriber:
                if isinstance(message, ObjectsFrame) and message.stream in self.streams:
                    self.streams[message.stream].on_objects(message)

    def _take(self, message: Message) -> None:
        match message:
            case DaemonStatusMessage():
                self.daemon, self._heard_at = message, time.monotonic()
                self.streams = {
                    stream: self.streams.get(stream) or StreamView(stream, Feed(self._endpoint, stream))
                    for stream in message.streams
                }
                for listener in self._listeners:
                    listener.on_daemon(message)
            case StatusMessage() if message.stream in self.streams:
                self.streams[message.stream].status = message
                if message.frames:
                    self._flowing.set()
                for listener in self._listeners:
                    listener.on_status(message)
            case EventMessage():
                self.events.append(message)
                for listener in self._listeners:
                    listener.on_event(message)
