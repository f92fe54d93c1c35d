"""What a single request may cost: its size, the time that it takes, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamseg.web.api_error import ApiError

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
_BODY_S: Final = 10.0
_SEND_S: Final = 20.0
"""A client that takes nothing for so long is gone."""

_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send "Origin: null" with our own form
    "X-Content-Type-Options": "nosniff",
}


class RequestLimits:
    """Middleware around everything: no body without end, no reader that never reads, no bare traceback.

    Args:
        app: What is bounded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request within its bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        received = 0
        deadline = asyncio.get_running_loop().time() + _BODY_S
        body_over = False

        async def bounded_receive() -> Message:
            nonlocal received, body_over
            if body_over:
                return await receive()  # waits for the end of the connection
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "TIMEOUT", f"the request did not come whole within {_BODY_S:g} s") from None
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise _too_large()
            body_over = not message.get("more_body", False)
            return message

        async def bounded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            async with asyncio.timeout(_SEND_S):
                await send(message)

        try:
            length = Headers(scope=scope).get("content-length", "")
            if length.isdigit() and int(length) > MAX_BODY_BYTES:
                raise _too_large()
            await self._app(scope, bounded_receive, bounded_send)
        except ApiError as refusal:
            if not started:
                await refusal.response()(scope, receive, bounded_send)
        except (TimeoutError, OSError) as error:
            log.debug("%s: the client is gone or too slow: %s", scope["path"], error)
        except Exception:  # a bug: the log redacts, and the client is told no more than that
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                fault = ApiError(500, "INTERNAL", "a fault of streamseg: its log says more")
                await fault.response()(scope, receive, bounded_send)


def _too_large() -> ApiError:
    return ApiError(413, "TOO_LARGE", f"the request is longer than {MAX_BODY_BYTES} bytes")
