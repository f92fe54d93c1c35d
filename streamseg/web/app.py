"""The ASGI application: routes, error handlers and middleware."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from streamseg.client import AsyncController
from streamseg.config.schema import ClipsConfig, HttpConfig
from streamseg.errors import ControlError
from streamseg.web.api_error import ApiError
from streamseg.web.client_limit import ClientLimit
from streamseg.web.clip_api import ClipApi
from streamseg.web.control_api import ControlApi
from streamseg.web.guard import VISITOR, Guard
from streamseg.web.hub import Hub
from streamseg.web.live import serve_live
from streamseg.web.login import log_in, show_login
from streamseg.web.metrics import Metrics
from streamseg.web.openapi import openapi_document
from streamseg.web.page_files import PageFiles
from streamseg.web.picture_api import PictureApi
from streamseg.web.program_api import ProgramApi
from streamseg.web.read_api import ReadApi
from streamseg.web.request_limits import RequestLimits
from streamseg.web.stream_api import StreamApi
from streamseg.web.tokens import Tokens

STATIC: Final = Path(__file__).parent / "static"

_FOR_WATCHERS: Final = {
    "</head>": '<link rel="stylesheet" href="static/watch.css"></head>',
    "<body>": "<body data-watch>",
    'aria-describedby="hint"': 'aria-describedby="watch-hint"',
    '<p id="hint">': '<p id="watch-hint">You may watch: your token has the role watch.</p><p id="hint">',
    "Select an object; elsewhere: start a new one, or add to the selected one": "Select an object",
    "move the crosshair, click there; with <kbd>Shift</kbd>: exclude": "move the crosshair, select there",
    "middle button: move": "middle button, or drag: move",
}
"""Replacements in the page for visitors who may only watch."""
_CHANGES: Final = ("<dt><kbd>Ctrl</kbd>-click", "<dt>Shift-click", "<dt>Drag", "<dt><kbd>E<", "<dt><kbd>B<")
"""Beginnings of the help lines that explain how to change something. Lines about buttons come from the buttons."""

_RECORD_TITLE: Final = "Record as WebM, as shown"


def make_app(
    hub: Hub,
    controller: AsyncController,
    http: HttpConfig,
    clips: ClipsConfig,
    subscribe_endpoint: str,
    key_command: str,
    tokens: Tokens | None,
) -> ASGIApp:
    """Return the application.

    Args:
        hub: State of the daemon.
        controller: Client of the control channel.
        http: Settings.
        clips: Settings of the clips that the recorder makes.
        subscribe_endpoint: Where other programs subscribe to the daemon.
        key_command: Command that makes the key they need there; empty if they need none.
        tokens: Accepted tokens; None if no token is required.
    """
    clients = ClientLimit(http.max_clients)
    operations = [
        *ReadApi(hub, Metrics(hub, clients)).operations(),
        *PictureApi(hub, clients).operations(),
        *ProgramApi(hub, subscribe_endpoint, key_command).operations(),
        *ControlApi(hub, controller).operations(),
        *ClipApi(hub, controller, None if clips.path is None else Path(clips.path)).operations(),
        *StreamApi(hub, controller, http).operations(),
    ]
    document = msgspec.json.encode(openapi_document(operations))

    files = PageFiles(STATIC)
    modules = ", ".join(f"<static/{path.name}>; rel=modulepreload" for path in sorted(STATIC.glob("*.js")))

    async def page(request: Request) -> Response:
        visitor = request.scope.get(VISITOR)
        hub.warm_up()
        if visitor is not None and visitor.role == "watch":
            return HTMLResponse(_watch_only(STATIC / "index.html"), headers={"Link": modules})
        if clips.path is not None:
            return HTMLResponse(_with_clips(STATIC / "index.html", clips), headers={"Link": modules})
        response = files.response(request, "index.html")
        response.headers["Link"] = modules  # load all modules at once, not each after the one that imports it
        return response

    async def openapi(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def live(websocket: WebSocket) -> None:
        await serve_live(websocket, hub, clients)

    routes: list[BaseRoute] = [
        Route("/", page),
        Route("/openapi.json", openapi),
        Route("/login", show_login, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        WebSocketRoute("/v1/live", live),
        Route("/static/{name}", files.respond),
    ]
    routes += [Route(operation.path, operation.serve, methods=[operation.method]) for operation in operations]
    app = Starlette(
        routes=routes,
        exception_handlers={ApiError: _on_api_error, ControlError: _on_control_error, HTTPException: _on_http_error},
    )
    app.state.tokens = tokens
    return RequestLimits(Guard(app, tokens=tokens, hosts=http.hosts))


def _watch_only(file: Path) -> str:
    """Return the page without its controls and with a note why. Its modules look for ``data-watch``."""
    page = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.strip().startswith(_CHANGES))
    for found, replacement in _FOR_WATCHERS.items():
        page = page.replace(found, replacement)
    return page


def _with_clips(file: Path, clips: ClipsConfig) -> str:
    """Return the page whose record button makes a clip. Its modules look for ``data-clips``."""
    title = f"Record {clips.before_s:g} s before and {clips.after_s:g} s after now as MP4. Shift: as WebM, as shown"
    page = file.read_text().replace("<body>", "<body data-clips>", 1)
    return page.replace(_RECORD_TITLE, title, 1)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _on_control_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ControlError)
    return ApiError.from_control(error).response()


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = "BAD_REQUEST", error.detail
    if error.status_code == 404:
        code, message = "NOT_FOUND", f"{request.url.path} does not exist: /openapi.json lists all paths"
    elif error.status_code == 405:
        code = "BAD_METHOD"
        message = f"{request.method} is not allowed for {request.url.path}: /openapi.json lists the methods"
    return ApiError(error.status_code, code, message, headers=error.headers).response()
