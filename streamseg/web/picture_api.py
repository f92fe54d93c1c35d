"""Pictures over plain HTTP: a snapshot, or an endless MJPEG stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from streamseg.client import FramePair
from streamseg.web.api_error import ApiError
from streamseg.web.client_limit import ClientLimit
from streamseg.web.hub import Hub
from streamseg.web.operations import PICTURE_QUERY, Operation, query_flag
from streamseg.web.read_api import find_stream
from streamseg.web.stream_view import StreamView
from streamseg.web.while_connected import while_connected

_SNAPSHOT_TIMEOUT_S: Final = 5.0
_MJPEG_TIMEOUT_S: Final = 30.0
_BOUNDARY: Final = "streamseg-frame"
_MJPEG: Final = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"


class PictureApi:
    """Operations that return pictures. Masks, if requested, always belong to the same frame.

    Args:
        hub: State of the daemon.
        clients: The viewers.
    """

    def __init__(self, hub: Hub, clients: ClientLimit) -> None:
        self._hub = hub
        self._clients = clients

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        errors = frozenset({404})
        return [
            Operation(
                "GET",
                "/v1/streams/{stream}/snapshot.jpg",
                self.snapshot,
                "The next picture.",
                "image/jpeg",
                query=PICTURE_QUERY,
                errors=errors,
            ),
            Operation(
                "GET",
                "/v1/streams/{stream}/stream.mjpg",
                self.mjpeg,
                "An endless stream of pictures, always the newest.",
                "multipart/x-mixed-replace",
                query=PICTURE_QUERY,
                errors=errors,
            ),
        ]

    async def snapshot(self, request: Request) -> Response:
        """Return one picture."""
        view, overlay = find_stream(self._hub, request), query_flag(request, "overlay")
        with self._clients.admit():
            try:
                pair = await while_connected(request, view.feed.next_pair(_SNAPSHOT_TIMEOUT_S))
            except TimeoutError:
                message = f"no picture arrived within {_SNAPSHOT_TIMEOUT_S:g} s: is the camera on?"
                raise ApiError(503, "NO_FRAME_YET", message, retryable=True) from None
            jpeg = await _jpeg(view, pair, overlay)
        return Response(jpeg, media_type="image/jpeg", headers={"X-Frame": str(pair.frame)})

    async def mjpeg(self, request: Request) -> Response:
        """Return pictures until the client disconnects or no picture arrives for a while."""
        view, overlay = find_stream(self._hub, request), query_flag(request, "overlay")
        self._clients.check()  # an error response is possible only before the stream starts
        return StreamingResponse(self._parts(view, overlay), media_type=_MJPEG)

    async def _parts(self, view: StreamView, overlay: bool) -> AsyncIterator[bytes]:
        arrived = asyncio.Event()
        with self._clients.admit(), view.feed.watched(arrived.set):
            while True:
                try:
                    await asyncio.wait_for(arrived.wait(), _MJPEG_TIMEOUT_S)
                except TimeoutError:
                    return
                arrived.clear()
                assert view.feed.newest is not None
                jpeg = await _jpeg(view, view.feed.newest, overlay)
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                yield head.encode() + jpeg + b"\r\n"


async def _jpeg(view: StreamView, pair: FramePair, overlay: bool) -> bytes:
    return await view.feed.overlay_jpeg(pair) if overlay else pair.image.jpeg
