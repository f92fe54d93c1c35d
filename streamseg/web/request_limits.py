"""Limits on the size and duration of requests, and the last error handler.

Ours because uvicorn and Starlette limit neither the size of a body, nor how long it may take to arrive, nor how long a
client may take to read a response. They expect a proxy in front of them; this daemon is often reached without one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from streamseg.web.api_error import ApiError

log = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 16 * 1024
"""h11 stops reading an incomplete head at this size; a complete one is checked here."""

MAX_BODY_BYTES: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 10.0
_SEND_TIMEOUT_S: Final = 20.0
"""A client that reads nothing for this long is disconnected."""

_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send "Origin: null" with the login form
    "X-Content-Type-Options": "nosniff",
}


class RequestLimits:
    """The outermost middleware: bounds each request, adds security headers, and turns bugs into a 500 response.

    Args:
        app: The application to protect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request within the limits."""
        if scope["type"] in ("http", "websocket") and _head_bytes(scope) > MAX_HEAD_BYTES:
            await _reject_head(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        received_bytes = 0
        deadline = asyncio.get_running_loop().time() + _BODY_TIMEOUT_S
        body_complete = False

        async def limited_receive() -> Message:
            nonlocal received_bytes, body_complete
            if body_complete:
                return await receive()  # waits for the client to disconnect
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "TIMEOUT", f"the body did not arrive within {_BODY_TIMEOUT_S:g} s") from None
            received_bytes += len(message.get("body", b""))
            if received_bytes > MAX_BODY_BYTES:
                raise _too_large()
            body_complete = not message.get("more_body", False)
            return message

        async def limited_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await send(message)

        try:
            length = Headers(scope=scope).get("content-length", "")
            if length.isdigit() and int(length) > MAX_BODY_BYTES:
                raise _too_large()
            await self._app(scope, limited_receive, limited_send)
        except ApiError as error:
            if not started:
                await error.response()(scope, receive, limited_send)
        except (ClientDisconnect, TimeoutError, OSError) as error:
            log.debug("%s: the client is gone or too slow: %s", scope["path"], error)
        except Exception:  # a bug: details go to the log, which redacts secrets, and not to the client
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                bug = ApiError(500, "INTERNAL", "internal error: see the log of the daemon")
                await bug.response()(scope, receive, limited_send)


def _head_bytes(scope: Scope) -> int:
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


async def _reject_head(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose(1009, "HEAD_TOO_LARGE")(scope, receive, send)
        return
    error = ApiError(431, "HEAD_TOO_LARGE", f"address and headers exceed {MAX_HEAD_BYTES} bytes")
    await error.response()(scope, receive, send)


def _too_large() -> ApiError:
    return ApiError(413, "TOO_LARGE", f"the body exceeds {MAX_BODY_BYTES} bytes")
