"""The page's WebSocket: pictures with masks, states and events.

One picture is in flight. The browser acknowledges it when it is on the screen; only then is the next one sent, and it
is the newest there is. So a slow browser sees few pictures, all of them new, and nothing waits in any queue.
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

_SEND_S: Final = 20.0
_CLOSE_S: Final = 2.0
_TILE_S: Final = 1.0
"""How often the picture of a stream that is not the large one is renewed."""
_TILE_WAIT_S: Final = 2.0
_MAX_EVENTS: Final = 100
_SCREEN_FRAMES: Final = 30


class Watch(msgspec.Struct, tag="watch", frozen=True):
    """The browser shows this stream large."""

    stream: Annotated[str, Meta(max_length=64)]


class Ack(msgspec.Struct, tag="ack", frozen=True):
    """The picture with that number is on the screen."""

    n: int


class _Over(Exception):  # noqa: N818  # ends a session on purpose
    """The session ends, with a code and a reason for the browser."""


_decoder = msgspec.json.Decoder(Watch | Ack)


async def live(websocket: WebSocket, hub: Hub, seats: ClientLimit) -> None:
    """Serve one browser until it leaves."""
    await websocket.accept()
    code, reason = 1000, ""
    left = False
    try:
        with seats.take():
            await _Session(websocket, hub).run()
    except* _Over as group:
        code, reason = group.exceptions[0].args
    except* ApiError as group:
        code, reason = 1013, str(group.exceptions[0])
    except* (WebSocketDisconnect, TimeoutError, OSError):
        left = True
    if left:
        return
    with contextlib.suppress(RuntimeError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await websocket.close(code, reason)


class _Session:
    """One browser.

    Args:
        websocket: Accepted.
        hub: What the daemon says.
    """

    def __init__(self, websocket: WebSocket, hub: Hub) -> None:
        self._websocket = websocket
        self._hub = hub
        self._wake = asyncio.Event()
        self._watching = contextlib.ExitStack()
        self._stream: str | None = None
        self._feed: Feed | None = None
        self._sent: FramePair | None = None
        self._sent_tile = False
        self._in_flight: tuple[int, FramePair] | None = None
        self._n = 0
        self._tiles: dict[str, FramePair] = {}
        self._statuses: dict[str, StatusMessage] = {}
        self._daemon: DaemonStatusMessage | None = hub.daemon
        self._events: deque[EventMessage] = deque(hub.events, maxlen=_MAX_EVENTS)
        self._screen_ms: deque[float] = deque(maxlen=_SCREEN_FRAMES)
        for stream, view in hub.streams.items():
            if view.status is not None:
                self._statuses[stream] = view.status

    async def run(self) -> None:
        """Serve until an error ends it."""
        self._wake.set()
        with self._watching, self._hub.listening(self):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
                tasks.create_task(self._renew_tiles())

    # --- what the hub tells: newest wins, events have a bound --------------------------------------------------------

    def on_daemon(self, status: DaemonStatusMessage) -> None:
        """Take the daemon's state; the stream that is watched may have come, gone, or come anew."""
        self._daemon = status
        self._follow()
        self._wake.set()

    def on_status(self, status: StatusMessage) -> None:
        """Take a stream's state."""
        self._statuses[status.stream] = status
        self._wake.set()

    def on_event(self, event: EventMessage) -> None:
        """Take an event."""
        self._events.append(event)
        self._wake.set()

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            try:
                order = _decoder.decode(message.get("text") or message.get("bytes") or "")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise _Over(1008, "the message makes no sense") from None
            if isinstance(order, Ack):
                self._acknowledge(order.n)
            else:
                self._watch(order.stream)

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
        """Watch the feed of the stream that is shown large, whichever that is now."""
        view = self._hub.streams.get(self._stream or "")
        feed = None if view is None else view.feed
        if feed is not self._feed:
            self._watching.close()
            self._feed, self._sent = feed, None
            if feed is not None:
                self._watching.enter_context(feed.watched(self._wake.set))

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_states()
            if self._in_flight is None and (pair := self._choose()) is not None:
                await self._send_frame(pair)

    async def _send_states(self) -> None:
        if self._daemon is not None:
            daemon, self._daemon = self._daemon, None
            await self._send_text("daemon", DaemonResponse.of(daemon), streams=daemon.streams)
        statuses, self._statuses = self._statuses, {}
        for status in statuses.values():
            await self._send_text("status", StreamResponse.of(status))
        while self._events:
            await self._send_text("event", EventResponse.of(self._events.popleft()))

    async def _send_text(self, kind: str, content: msgspec.Struct, **more: Any) -> None:
        text = msgspec.json.encode({"type": kind, kind: content, **more}).decode()
        async with asyncio.timeout(_SEND_S):
            await self._websocket.send_text(text)

    def _choose(self) -> FramePair | None:
        """The next picture: a tile that waits, but no two of them while the large stream has one."""
        newest = None if self._feed is None else self._feed.newest
        fresh = newest if newest is not self._sent else None
        if self._tiles and (fresh is None or not self._sent_tile):
            self._sent_tile = True
            return self._tiles.pop(next(iter(self._tiles)))
        if fresh is not None:
            self._sent, self._sent_tile = fresh, False
        return fresh

    async def _send_frame(self, pair: FramePair) -> None:
        view = self._hub.streams.get(pair.stream)
        if view is None:
            return
        self._n += 1
        screen_ms = round(statistics.median(self._screen_ms), 1) if self._screen_ms else None
        try:
            data = frame_message(pair, view, n=self._n, age_ms=_age_ms(pair), screen_ms=screen_ms)
        except ProtocolError as error:
            log.warning("frame %d cannot be shown: %s", pair.frame, error, extra={"stream": pair.stream})
            return
        self._in_flight = (self._n, pair)
        async with asyncio.timeout(_SEND_S):
            await self._websocket.send_bytes(data)

    async def _renew_tiles(self) -> None:
        """Fetch a picture of each other stream in turn; nothing is encoded for them in between."""
        while True:
            for stream, view in list(self._hub.streams.items()):
                if stream == self._stream:
                    continue
                with contextlib.suppress(TimeoutError):
                    self._tiles[stream] = await view.feed.next_pair(_TILE_WAIT_S)
                    self._wake.set()
            await asyncio.sleep(_TILE_S)


def _age_ms(pair: FramePair) -> float:
    """Age of a frame now; this process shares the daemon's clock."""
    return (time.monotonic_ns() - pair.masks.t_captured_ns) / 1e6
