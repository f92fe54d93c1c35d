"""Access control: checks of Host, Origin and token before a request reaches the application.

Ours because the rules belong together and must cover WebSockets. Starlette's ``TrustedHostMiddleware`` accepts only
listed addresses, none of its middleware checks Origin, and login packages bring accounts and sessions, where tokens are
enough here.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from streamseg.web.api_error import ApiError
from streamseg.web.tokens import Tokens, Visitor, unauthorized

VISITOR: Final = "streamseg.visitor"
"""Key of the request's :class:`~streamseg.web.tokens.Visitor` in its scope, if a token is required."""
_READING: Final = frozenset({"GET", "HEAD"})
PUBLIC_PATHS: Final = frozenset(
    {"/healthz", "/readyz", "/login", "/static/login.css", "/static/page.css", "/static/icon.svg"}
)
"""Paths that need no token. They reveal nothing of what the cameras see."""
_CLOSE_TIMEOUT_S: Final = 2.0


class Guard:
    """Middleware that rejects unauthorized and cross-site requests.

    - **Host** must be an address, ``localhost`` or a name from ``http.hosts``. This stops DNS rebinding, where a
      foreign site points its own name at this machine.
    - **Origin**, which browsers send with WebSockets and all state-changing requests, must be the page's own.
    - **A token**, if one is required, comes as ``Authorization: Bearer`` or in the cookie that ``/login`` sets. One
      with the role ``watch`` only allows requests that change nothing. When a token is revoked or expires, WebSockets
      and streams of pictures opened with it are closed.

    Args:
        app: The application to protect.
        tokens: Accepted tokens; None if no token is required.
        hosts: Additional names of this machine.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in ("localhost", *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            if scope["type"] == "websocket":
                await WebSocketClose(1008, error.code)(scope, receive, send)
            elif error.status == 401 and _wants_html(scope):
                up = "../" * (scope["path"].count("/") - 1)  # relative: a proxy may add a path prefix
                await RedirectResponse(f"{up}login", 303)(scope, receive, send)
            else:
                await error.response()(scope, receive, send)
            return
        if self._tokens is None or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
        else:
            await self._serve(self._tokens, scope, receive, send)

    async def _serve(self, tokens: Tokens, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request for as long as its token is valid."""
        visitor: Visitor | None = scope.get(VISITOR)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                with tokens.opened(visitor, lambda: None if limit.expired() else limit.reschedule(loop.time())):
                    await self._app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            if scope["type"] == "http":
                raise unauthorized() from None  # if the response has begun, the connection is closed instead
            with contextlib.suppress(RuntimeError, OSError):  # the client is gone
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await WebSocketClose(1008, "UNAUTHORIZED")(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known_host(hosts[0]):
            raise ApiError(
                421,
                "WRONG_HOST",
                "the Host header does not name this machine: use its address, or add the name to http.hosts",
            )
        origin = headers.get("origin")
        # Behind a TLS proxy the scheme differs, but name and port do not.
        if origin is not None and origin.partition("://")[2].lower() != hosts[0].lower():
            raise _cross_site()
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise _cross_site()
        if self._tokens is not None and self._tokens.required and scope["path"] not in PUBLIC_PATHS:
            visitor = self._tokens.check(headers, address_of(scope))
            scope[VISITOR] = visitor
            if visitor.role == "watch" and scope.get("method", "GET") not in _READING:
                raise ApiError(403, "FORBIDDEN", f"token {visitor.name!r} may only watch: it has the role watch")

    def _is_known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name:
            return False
        try:
            ip_address(name)
        except ValueError:
            return name in self._hosts
        return True  # an address needs no DNS, so it cannot be rebound


def address_of(scope: Scope) -> str:
    """Return the address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _cross_site() -> ApiError:
    return ApiError(403, "CROSS_SITE", "requests from other sites are refused: open this page directly")


def _wants_html(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
