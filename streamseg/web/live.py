"""The WebSocket of the page: pictures with masks, status and events.

One picture is in flight (in the grid, one per stream). The browser acknowledges it when it is on the screen, and only
then is the newest one sent. A slow browser therefore sees fewer pictures, all of them current, and no queue builds up.

Not WebRTC (``aiortc``): masks cannot be tied to their frame in its video pipeline.
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
from streamseg.web.diagnosis import health_of
from streamseg.web.event_text import event_words
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
_MAX_GRID: Final = 32
_SCREEN_MS_FRAMES: Final = 30
_MAX_WAIT_S: Final = 0.1
"""Pictures that arrive less often than this are sent at once."""
_OVERDUE: Final = 1.3
"""A picture is late after this many periods: the one before it is sent."""


StreamName = Annotated[str, Meta(max_length=64)]


class Watch(msgspec.Struct, tag="watch", frozen=True):
    """Sent by the browser: the streams that it shows.

    Attributes:
        stream: The stream that is shown large.
        grid: All streams to send live, if they are shown side by side. The others are sent as tiles, about once a
            second.
    """

    stream: StreamName
    grid: Annotated[tuple[StreamName, ...], Meta(max_length=_MAX_GRID)] = ()


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
        self._grid: tuple[str, ...] = ()
        self._feeds: dict[str, Feed] = {}
        self._last_sent: dict[str, FramePair] = {}
        self._last_was_tile = False
        self._in_flight: dict[str, tuple[int, FramePair]] = {}
        self._n = 0
        self._timer: asyncio.TimerHandle | None = None
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
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: self._watching.close())
            stack.enter_context(self._hub.listening(self))
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
                self._watch(request)

    def _acknowledge(self, n: int) -> None:
        for stream, (number, pair) in self._in_flight.items():
            if number == n:
                del self._in_flight[stream]
                if stream == self._stream:
                    self._screen_ms.append(_age_ms(pair))
                self._wake.set()
                return

    def _watch(self, request: Watch) -> None:
        if request.stream != self._stream:
            self._stream = request.stream
            self._screen_ms.clear()
        self._grid = request.grid
        self._follow()

    def _follow(self) -> None:
        """Watch the feeds of the streams that are sent live."""
        live = self._grid or (() if self._stream is None else (self._stream,))
        streams = self._hub.streams
        feeds = {stream: streams[stream].feed for stream in live if stream in streams}
        if feeds == self._feeds:
            return
        watching = contextlib.ExitStack()
        for stream, feed in feeds.items():
            watching.enter_context(feed.watched(self._wake.set))
            self._tiles.pop(stream, None)
        self._watching.close()  # after the new ones are watched, so that a feed in both goes on
        self._watching, self._feeds = watching, feeds
        self._last_sent = {stream: pair for stream, pair in self._last_sent.items() if stream in feeds}

    # --- to the browser ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_status()
            while (pair := self._next_picture()) is not None:
                await self._send_frame(pair)

    async def _send_status(self) -> None:
        if self._daemon is not None:
            daemon, self._daemon = self._daemon, None
            await self._send_text("daemon", DaemonResponse.from_message(daemon), streams=daemon.streams)
        statuses, self._statuses = self._statuses, {}
        for status in statuses.values():
            health = health_of(status, self._hub.daemon)
            await self._send_text("status", StreamResponse.from_message(status), health=health)
        while self._events:
            event = self._events.popleft()
            await self._send_text("event", EventResponse.from_message(event), words=event_words(event))

    async def _send_text(self, kind: str, content: msgspec.Struct, **fields: Any) -> None:
        text = msgspec.json.encode({"type": kind, kind: content, **fields}).decode()
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._websocket.send_text(text)

    def _next_picture(self) -> FramePair | None:
        """Return the next picture to send, if one may be sent.

        Tiles come first, but never two in a row while a live stream has a new picture. Live streams take turns.
        """
        if self._in_flight and not self._grid:
            return None
        new = None
        for stream, feed in self._feeds.items():
            newest = feed.newest
            if newest is not None and newest is not self._last_sent.get(stream) and stream not in self._in_flight:
                if self._awaits_fresher(feed):
                    continue
                new = newest
                break
        if self._tiles and not self._in_flight and (new is None or not self._last_was_tile):
            self._last_was_tile = True
            return self._tiles.pop(next(iter(self._tiles)))
        if new is not None:
            self._last_was_tile = False
            self._last_sent[new.stream] = new
            self._feeds[new.stream] = self._feeds.pop(new.stream)  # to the end of the line
        return new

    def _awaits_fresher(self, feed: Feed) -> bool:
        """Whether to skip the newest picture because the next one is due soon.

        A browser that is slower than the stream acknowledges at any time between two pictures. Waiting for the next one
        makes the shown picture fresher on average if the newest arrived more than a third of a period ago.
        """
        if self._grid or feed.period_s is None or feed.period_s > _MAX_WAIT_S:
            return False
        loop = asyncio.get_running_loop()
        waited = loop.time() - feed.arrived_s
        if not feed.period_s / 3 < waited < feed.period_s * _OVERDUE:
            return False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(feed.arrived_s + feed.period_s * _OVERDUE, self._wake.set)  # if it does not come
        return True

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
        self._in_flight[pair.stream] = (self._n, pair)
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._websocket.send_bytes(data)

    async def _fetch_tiles(self) -> None:
        """Fetch one picture of each other stream in turn, so that the daemon encodes only a few of them."""
        while True:
            for stream, view in list(self._hub.streams.items()):
                if stream in self._feeds:
                    continue
                with contextlib.suppress(TimeoutError):
                    self._tiles[stream] = await view.feed.next_pair(_TILE_TIMEOUT_S)
                    self._wake.set()
            await asyncio.sleep(_TILE_PERIOD_S)


def _age_ms(pair: FramePair) -> float:
    """Return the current age of a frame. This process shares the daemon's clock."""
    return (time.monotonic_ns() - pair.masks.t_captured_ns) / 1e6
