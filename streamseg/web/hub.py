"""State of the daemon, collected from one subscription that all browsers and HTTP clients share."""

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
from streamseg.web.latency import LatencyHistogram
from streamseg.web.stream_view import StreamView

SILENCE_S: Final = 3.0
"""A daemon that has been silent this long is down or unreachable (docs/protocol.md)."""

_MAX_EVENTS: Final = 50


class Listener(Protocol):
    """Receives messages of the daemon as they arrive. Must not block."""

    def on_daemon(self, status: DaemonStatusMessage) -> None:
        """Receive the state of the daemon, once a second."""
        ...

    def on_status(self, status: StatusMessage) -> None:
        """Receive the state of a stream, once a second."""
        ...

    def on_event(self, event: EventMessage) -> None:
        """Receive an event."""
        ...


class Hub:
    """State of the daemon.

    Args:
        endpoint: Where the daemon publishes.

    Attributes:
        daemon: The newest status of the daemon; None before the first.
        streams: State of each stream, by id.
        events: The newest events, oldest first.
        latency: Histogram of the frames' latencies.
    """

    def __init__(self, endpoint: str) -> None:
        self.daemon: DaemonStatusMessage | None = None
        self.streams: dict[str, StreamView] = {}
        self.events: deque[EventMessage] = deque(maxlen=_MAX_EVENTS)
        self.latency = LatencyHistogram()
        self._endpoint = endpoint
        self._last_status_at = 0.0
        self._frames_flow = asyncio.Event()
        self._listeners: list[Listener] = []
        self._warming: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Receive messages until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive_status())
            tasks.create_task(self._receive_objects())

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Notify a listener for the duration of the block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def warm_up(self) -> None:
        """Prepare the picture that the page shows first."""
        for view in list(self.streams.values())[:1]:
            self._warming = asyncio.create_task(view.feed.warm_up())

    def missing(self) -> list[str]:
        """Return what keeps the daemon from working; empty if it works."""
        if self.daemon is None or time.monotonic() - self._last_status_at > SILENCE_S:
            return [f"publisher: no status within {SILENCE_S:g} s"]
        processes = self.daemon.processes
        down = [
            f"{name}: {processes.get(name, 'unknown')}"
            for name in ("publisher", "worker")
            if processes.get(name) != "ready"
        ]
        statuses = [view.status for view in self.streams.values() if view.status is not None]
        return down + [
            f"stream {status.stream}: no masks for {status.no_masks_s:.0f} s although frames come"
            for status in statuses
            if status.no_masks_s
        ]

    def on_message(self, message: Message) -> None:
        """Update the state with a message, and notify the listeners."""
        match message:
            case DaemonStatusMessage():
                self.daemon, self._last_status_at = message, time.monotonic()
                self._update_streams(message.streams)
                for listener in self._listeners:
                    listener.on_daemon(message)
            case StatusMessage() if message.stream in self.streams:
                self.streams[message.stream].status = message
                if message.frames:
                    self._frames_flow.set()
                for listener in self._listeners:
                    listener.on_status(message)
            case EventMessage():
                self.events.append(message)
                for listener in self._listeners:
                    listener.on_event(message)
            case ObjectsFrame() if message.stream in self.streams:
                self.streams[message.stream].on_objects(message)
                self.latency.observe(message)

    def _update_streams(self, streams: list[str]) -> None:
        for stream in self.streams.keys() - set(streams):
            self.latency.remove_stream(stream)
        for stream in streams:
            if stream not in self.streams:
                self.latency.add_stream(stream)
        self.streams = {
            stream: self.streams.get(stream) or StreamView(stream, Feed(self._endpoint, stream)) for stream in streams
        }

    async def _receive_status(self) -> None:
        async with AsyncSubscriber(self._endpoint, kinds=("events", "status")) as subscriber:
            async for message in subscriber:
                self.on_message(message)

    async def _receive_objects(self) -> None:
        # A source with `wait_for_subscriber` starts at the first subscription: do not subscribe before frames flow.
        await self._frames_flow.wait()
        async with AsyncSubscriber(self._endpoint, kinds=("objects",), mode="all") as subscriber:
            async for message in subscriber:
                self.on_message(message)
