"""The WebSocket of the page: pictures with masks, status and events.

One picture is in flight. The browser acknowledges it when it is on the screen, and only then is the next one sent,
which is always the newest. A slow browser therefore sees fewer pictures, all of them current, and no queue builds up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import time
from collections import deque
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamseg.client import DaemonStatusMessage, EventMessage, FramePair, StatusMessage
from streamseg.errors import ProtocolError
from streamseg.web.api_error import ApiError
from streamseg.web.client_limit import ClientLimit
from streamseg.web.feed import Feed
from streamseg.web.frame_message import frame_message
from streamseg.web.hub import Hub
from streamseg.web.responses import DaemonResponse, EventResponse, StreamResponse

log = logging.getLogger(__name__)

_SEND_TIMEOUT_S: Final = 20.0
_CLOSE_TIMEOUT_S: Final = 2.0
_TILE_PERIOD_S: Final = 1.0
_TILE_TIMEOUT_S: Final = 2.0
_MAX_EVENTS: Final = 100
_SCREEN_MS_FRAMES: Final = 30


class Watch(msgspec.Struct, tag="watch", frozen=True):
    """Sent by the browser: show this stream large."""

    stream: Annotated[str, Meta(max_length=64)]


class Ack(msgspec.Struct, tag="ack", frozen=True):
    """Sent by the browser: this picture is on the screen."""

    n: int


class _CloseSession(Exception):  # noqa: N818  # control flow, not an error
    """Closes the WebSocket with a code and a reason."""


_decoder = msgspec.json.Decoder(Watch | Ack)


async def serve_live(websocket: WebSocket, hub: Hub, clients: ClientLimit) -> None:
    """Serve one browser until it disconnects."""
    await websocket.accept()
    code, reason = 1000, ""
    disconnected = False
    try:
        with clients.admit():
            await _Session(websocket, hub).run()
    except* _CloseSession as group:
        code, reason = group.exceptions[0].args
    except* ApiError as group:
        code, reason = 1013, str(group.exceptions[0])
    except* (WebSocketDisconnect, TimeoutError, OSError):
        disconnected = True
    if disconnected:
        return
    with contextlib.suppress(RuntimeError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await websocket.close(code, reason)


class _Session:
    """One browser.

    Args:
        websocket: Accepted connection.
        hub: State of the daemon.
    """

    def __init__(self, websocket: WebSocket, hub: Hub) -> None:
        self._websocket = websocket
        self._hub = hub
        self._wake = asyncio.Event()
        self._watching = contextlib.ExitStack()
        self._stream: str | None = None
        self._feed: Feed | None = None
        self._last_sent: FramePair | None = None
        self._last_was_tile = False
        self._in_flight: tuple[int, FramePair] | None = None
        self._n = 0
        self._tiles: dict[str, FramePair] = {}
        self._statuses: dict[str, StatusMessage] = {}
        self._daemon: DaemonStatusMessage | None = hub.daemon
        self._events: deque[EventMessage] = deque(hub.events, maxlen=_MAX_EVENTS)
        self._screen_ms: deque[float] = deque(maxlen=_SCREEN_MS_FRAMES)
        for stream, view in hub.streams.items():
            if view.status is not None:
                self._statuses[stream] = view.status

    async def run(self) -> None:
        """Serve until the connection ends, which raises."""
        self._wake.set()
        with self._watching, self._hub.listening(self):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
                tasks.create_task(self._fetch_tiles())

    # --- from the hub: the newest status wins, events are bounded ----------------------------------------------------

    def on_daemon(self, status: DaemonStatusMessage) -> None:
        """Receive the state of the daemon. The watched stream may have been added, removed or replaced."""
        self._daemon = status
        self._follow()
        self._wake.set()

    def on_status(self, status: StatusMessage) -> None:
        """Receive the state of a stream."""
        self._statuses[status.stream] = status
        self._wake.set()

    def on_event(self, event: EventMessage) -> None:
        """Receive an event."""
        self._events.append(event)
        self._wake.set()

    # --- from the browser --------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            try:
                request = _decoder.decode(message.get("text") or message.get("bytes") or "")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise _CloseSession(1008, "malformed message") from None
            if isinstance(request, Ack):
                self._acknowledge(request.n)
            else:
                self._watch(request.stream)

    def _acknowledge(self, n: int) -> None:
        if self._in_flight is None or self._in_flight[0] != n:
            return
        pair = self._in_flight[1]
        self._in_flight = None
        if pair.stream == self._stream:
            self._screen_ms.append(_age_ms(pair))
        self._wake.set()

    def _watch(self, stream: str) -> None:
        if stream != self._stream:
            self._stream = stream
            self._screen_ms.clear()
            self._tiles.pop(stream, None)
            self._follow()

    def _follow(self) -> None:
        """Watch the feed of the stream that is shown large."""
        view = self._hub.streams.get(self._stream or "")
        feed = None if view is None else view.feed
        if feed is not self._feed:
            self._watching.close()
            self._feed, self._last_sent = feed, None
            if feed is not None:
                self._watching.enter_context(feed.watched(self._wake.set))

    # --- to the browser ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_status()
            if self._in_flight is None and (pair := self._next_picture()) is not None:
                await self._send_frame(pair)

    async def _send_status(self) -> None:
        if self._daemon is not None:
            daemon, self._daemon = self._daemon, None
            await self._send_text("daemon", DaemonResponse.from_message(daemon), streams=daemon.streams)
        statuses, self._statuses = self._statuses, {}
        for status in statuses.values():
            await self._send_text("status", StreamResponse.from_message(status))
        while self._events:
            await self._send_text("event", EventResponse.from_message(self._events.popleft()))

    async def _send_text(self, kind: str, content: msgspec.Struct, **fields: Any) -> None:
        text = msgspec.json.encode({"type": kind, kind: content, **fields}).decode()
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._websocket.send_text(text)

    def _next_picture(self) -> FramePair | None:
        """Return the next picture to send: tiles first, but never two in a row while the large stream has a new one."""
        newest = None if self._feed is None else self._feed.newest
        new = newest if newest is not self._last_sent else None
        if self._tiles and (new is None or not self._last_was_tile):
            self._last_was_tile = True
            return self._tiles.pop(next(iter(self._tiles)))
        if new is not None:
            self._last_sent, self._last_was_tile = new, False
        return new

    async def _send_frame(self, pair: FramePair) -> None:
        view = self._hub.streams.get(pair.stream)
        if view is None:
            return
        self._n += 1
        screen_ms = round(statistics.median(self._screen_ms), 1) if self._screen_ms else None
        try:
            data = frame_message(pair, view, n=self._n, age_ms=_age_ms(pair), screen_ms=screen_ms)
        except ProtocolError as error:
            log.warning("frame %d cannot be sent to the page: %s", pair.frame, error, extra={"stream": pair.stream})
            return
        self._in_flight = (self._n, pair)
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._websocket.send_bytes(data)

    async def _fetch_tiles(self) -> None:
        """Fetch one picture of each other stream in turn, so that the daemon encodes only a few of them."""
        while True:
            for stream, view in list(self._hub.streams.items()):
                if stream == self._stream:
                    continue
                with contextlib.suppress(TimeoutError):
                    self._tiles[stream] = await view.feed.next_pair(_TILE_TIMEOUT_S)
                    self._wake.set()
            await asyncio.sleep(_TILE_PERIOD_S)


def _age_ms(pair: FramePair) -> float:
    """Return the current age of a frame. This process shares the daemon's clock."""
    return (time.monotonic_ns() - pair.masks.t_captured_ns) / 1e6
