"""All of the HTTP interface put together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from streamseg.client import AsyncController
from streamseg.config.schema import HttpConfig
from streamseg.errors import ControlError
from streamseg.web.api_error import ApiError
from streamseg.web.client_limit import ClientLimit
from streamseg.web.control_api import ControlApi
from streamseg.web.guard import Guard
from streamseg.web.hub import Hub
from streamseg.web.live import live
from streamseg.web.login import log_in, show_login
from streamseg.web.openapi import describe
from streamseg.web.picture_api import PictureApi
from streamseg.web.read_api import ReadApi
from streamseg.web.request_limits import RequestLimits

STATIC: Final = Path(__file__).parent / "static"


def make_app(hub: Hub, controller: AsyncController, http: HttpConfig) -> ASGIApp:
    """Return the application.

    Args:
        hub: What the daemon says.
        controller: Does what is asked.
        http: Settings.
    """
    seats = ClientLimit(http.max_clients)
    operations = [
        *ReadApi(hub, seats).operations(),
        *PictureApi(hub, seats).operations(),
        *ControlApi(hub, controller).operations(),
    ]
    document = msgspec.json.encode(describe(operations))

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def openapi(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def websocket(socket: WebSocket) -> None:
        await live(socket, hub, seats)

    routes: list[BaseRoute] = [
        Route("/", page),
        Route("/openapi.json", openapi),
        Route("/login", show_login, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        WebSocketRoute("/v1/live", websocket),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    routes += [Route(each.path, each.handler, methods=[each.method]) for each in operations]
    app = Starlette(
        routes=routes,
        exception_handlers={ApiError: _refused, ControlError: _not_done, HTTPException: _no_such_thing},
    )
    app.state.token = http.token
    return RequestLimits(Guard(app, token=http.token, hosts=http.hosts))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _not_done(request: Request, error: Exception) -> Response:
    assert isinstance(error, ControlError)
    return ApiError.of(error).response()


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, mend = "BAD_REQUEST", error.detail
    if error.status_code == 404:
        code, mend = "NOT_FOUND", "there is nothing here: /openapi.json lists what there is"
    elif error.status_code == 405:
        code, mend = "BAD_METHOD", "another method is needed here: /openapi.json lists them"
    return ApiError(error.status_code, code, mend, headers=error.headers).response()
