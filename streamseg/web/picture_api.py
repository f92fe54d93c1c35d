"""Pictures for programs that know nothing but HTTP: one, or one after the other."""

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
from streamseg.web.operations import OVERLAY, Operation, overlay_of
from streamseg.web.overlay import overlay_jpeg
from streamseg.web.read_api import view_of
from streamseg.web.stream_view import StreamView

_PICTURE_S: Final = 5.0
_SILENCE_S: Final = 30.0
_BOUNDARY: Final = "streamseg-frame"
_MJPEG: Final = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"


class PictureApi:
    """Operations that return pictures. Masks, if asked for, are those of the same frame.

    Args:
        hub: What the daemon says.
        seats: Who watches.
    """

    def __init__(self, hub: Hub, seats: ClientLimit) -> None:
        self._hub = hub
        self._seats = seats

    def operations(self) -> list[Operation]:
        """Return the table."""
        refusals = frozenset({404})
        return [
            Operation(
                "GET",
                "/v1/streams/{stream}/snapshot.jpg",
                self.snapshot,
                "The next picture.",
                "image/jpeg",
                query=OVERLAY,
                refusals=refusals,
            ),
            Operation(
                "GET",
                "/v1/streams/{stream}/stream.mjpg",
                self.mjpeg,
                "Pictures without end, always the newest.",
                "multipart/x-mixed-replace",
                query=OVERLAY,
                refusals=refusals,
            ),
        ]

    async def snapshot(self, request: Request) -> Response:
        """Return one picture."""
        view, overlay = view_of(self._hub, request), overlay_of(request)
        with self._seats.take():
            try:
                pair = await view.feed.next_pair(_PICTURE_S)
            except TimeoutError:
                raise ApiError(
                    503, "NO_FRAME_YET", f"no picture came within {_PICTURE_S:g} s: is the camera on?", retryable=True
                ) from None
            jpeg = await _jpeg(pair, overlay)
        return Response(jpeg, media_type="image/jpeg", headers={"X-Frame": str(pair.frame)})

    async def mjpeg(self, request: Request) -> Response:
        """Return pictures until the client leaves or none comes for long."""
        view, overlay = view_of(self._hub, request), overlay_of(request)
        with self._seats.take():  # tells now if all are taken; the pictures themselves take their own
            pass
        return StreamingResponse(self._parts(view, overlay), media_type=_MJPEG)

    async def _parts(self, view: StreamView, overlay: bool) -> AsyncIterator[bytes]:
        came = asyncio.Event()
        with self._seats.take(), view.feed.watched(came.set):
            while True:
                try:
                    await asyncio.wait_for(came.wait(), _SILENCE_S)
                except TimeoutError:
                    return
                came.clear()
                assert view.feed.newest is not None
                jpeg = await _jpeg(view.feed.newest, overlay)
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                yield head.encode() + jpeg + b"\r\n"


async def _jpeg(pair: FramePair, overlay: bool) -> bytes:
    return await asyncio.to_thread(overlay_jpeg, pair) if overlay else pair.image.jpeg
