"""Operations on clips: begin one, list complete ones, download one."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from streamseg.client import AsyncController, DaemonStatusMessage, EventMessage, StatusMessage
from streamseg.common.clip_names import parse_clip_name
from streamseg.protocol.arguments import RecordClip
from streamseg.protocol.results import ClipStarted
from streamseg.web.api_error import ApiError
from streamseg.web.hub import Hub
from streamseg.web.operations import Operation, json_response, query_flag, read_body
from streamseg.web.read_api import known_stream
from streamseg.web.while_connected import while_connected

_MAX_LISTED: Final = 1000
_MEDIA_TYPE: Final = "video/mp4"
_WRITING_S: Final = 60.0
_WAIT: Final[Mapping[str, dict[str, Any]]] = {
    "wait": {"type": "boolean", "default": False, "description": "Respond when the clip is complete, not at once."}
}


class ClipEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A complete clip."""

    name: Annotated[str, Meta(description="Of its file; download it as /v1/clips/NAME.")]
    stream: Annotated[str, Meta(description="Id of its stream.")]
    kind: Annotated[str, Meta(description="Of the event that started it, or requested.")]
    t_s: Annotated[int, Meta(description="When that was, Unix epoch.")]
    size_bytes: Annotated[int, Meta(description="Of the file.")]


class ClipsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Clips, newest first."""

    clips: Annotated[list[ClipEntry], Meta(description=f"At most {_MAX_LISTED}.")]


class ClipApi:
    """Operations on clips. The role `watch` is enough to list and download them: they show what the page shows.

    Args:
        hub: State of the daemon.
        controller: Client of the control channel.
        folder: Where the recorder writes clips; None if it writes none.
    """

    def __init__(self, hub: Hub, controller: AsyncController, folder: Path | None) -> None:
        self._hub = hub
        self._controller = controller
        self._folder = folder

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        return [
            Operation(
                "POST",
                "/v1/streams/{stream}/clips",
                self.record_clip,
                "Begin a clip: a video of the seconds before and after now.",
                ClipStarted,
                body=RecordClip,
                query=_WAIT,
                errors=frozenset({404, 415, 422, 504}),
            ),
            Operation("GET", "/v1/clips", self.clips, "List the clips that are complete.", ClipsResponse),
            Operation(
                "GET", "/v1/clips/{clip}", self.clip, "Download a clip.", _MEDIA_TYPE, errors=frozenset({404, 416})
            ),
        ]

    async def record_clip(self, request: Request) -> Response:
        """Begin a clip."""
        stream, wanted = known_stream(self._hub, request), await read_body(request, RecordClip)
        waits = query_flag(request, "wait")
        events = _ClipEvents()
        with self._hub.listening(events):
            started = await self._controller.record_clip(stream, wanted.before_s, wanted.after_s)
            if waits:
                await while_connected(request, events.wait_for(started))
        return json_response(started)

    async def clips(self, request: Request) -> Response:
        """List the clips."""
        if self._folder is None:
            return json_response(ClipsResponse(clips=[]))
        return json_response(ClipsResponse(clips=await run_in_threadpool(_listing, self._folder)))

    async def clip(self, request: Request) -> Response:
        """Return the file of a clip, or the part requested by the Range header."""
        name = request.path_params["clip"]
        if self._folder is not None and parse_clip_name(name) is not None:
            path = self._folder / name
            with contextlib.suppress(OSError):
                status = path.lstat()  # a link may lead anywhere
                if path.is_file() and not path.is_symlink():
                    return FileResponse(path, media_type=_MEDIA_TYPE, filename=name, stat_result=status)
        raise ApiError(404, "NOT_FOUND", f"there is no clip {name[:100]!r}: /v1/clips lists all that are complete")


class _ClipEvents:
    """Waits for the event that reports the outcome of a clip. A listener of the hub."""

    def __init__(self) -> None:
        self._seen: asyncio.Queue[EventMessage] = asyncio.Queue()

    def on_daemon(self, status: DaemonStatusMessage) -> None:
        """Nothing to do."""

    def on_status(self, status: StatusMessage) -> None:
        """Nothing to do."""

    def on_event(self, event: EventMessage) -> None:
        """Queue an event about a clip."""
        if event.event in ("clip_saved", "clip_failed"):
            self._seen.put_nowait(event)

    async def wait_for(self, started: ClipStarted) -> None:
        """Return when a clip is complete.

        Raises:
            ApiError: It failed, or was not complete in time.
        """
        try:
            async with asyncio.timeout(started.after_s + _WRITING_S):
                while not (event := await self._seen.get()).detail.startswith(started.clip):
                    pass
        except TimeoutError:
            message = f"{started.clip} is not complete {_WRITING_S:g} s after its end: see the log of the daemon"
            raise ApiError(504, "TIMEOUT", message) from None
        if event.event == "clip_failed":
            raise ApiError(503, "CLIP_FAILED", event.detail, retryable=True)


def _listing(folder: Path) -> list[ClipEntry]:
    return heapq.nlargest(_MAX_LISTED, _entries(folder), key=lambda entry: (entry.t_s, entry.name))


def _entries(folder: Path) -> Iterator[ClipEntry]:
    with contextlib.suppress(OSError):  # the recorder has not made it yet
        for path in folder.iterdir():
            name = parse_clip_name(path.name)
            if name is not None and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    size_bytes = path.stat().st_size
                    yield ClipEntry(
                        name=path.name, stream=name.stream, kind=name.kind, t_s=name.t_s, size_bytes=size_bytes
                    )
