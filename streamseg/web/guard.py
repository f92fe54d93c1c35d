"""Who may ask: checks of Host, Origin and token, before anything else looks at a request."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from streamseg.web.api_error import ApiError

COOKIE: Final = "streamseg"
OPEN: Final = frozenset({"/healthz", "/readyz", "/login", "/static/login.css"})
"""Paths that need no token: they tell nothing about what the cameras see."""


class Guard:
    """Middleware that refuses requests of strangers.

    - **Host** must be an address, ``localhost`` or a name of the settings. A foreign site that lets its own name
      point here (DNS rebinding) comes with its own name, so it gets nothing.
    - **Origin**, which browsers send with WebSockets and everything that changes something, must be the page's own.
    - **The token**, if there is one, comes as ``Authorization: Bearer`` or in the cookie that ``/login`` sets.

    Args:
        app: What is guarded.
        token: The token; None if none is needed.
        hosts: Further names of this machine.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(host.lower() for host in ("localhost", *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as refusal:
            if scope["type"] == "websocket":
                await WebSocketClose(1008, refusal.code)(scope, receive, send)
            elif refusal.status == 401 and _is_person(scope):
                await _redirect_to_login(scope, receive, send)
            else:
                await refusal.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise ApiError(
                421,
                "WRONG_HOST",
                "this name is not known here: use the machine's address, or add the name to http.hosts",
            )
        origin = headers.get("origin")
        # Behind a proxy that speaks TLS the scheme differs; the name and port do not.
        if origin is not None and origin.partition("://")[2].lower() != hosts[0].lower():
            raise ApiError(403, "CROSS_SITE", "another site asked for this: open the page itself")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise ApiError(403, "CROSS_SITE", "another site asked for this: open the page itself")
        if self._token is not None and scope["path"] not in OPEN and not _knows(headers, self._token):
            raise ApiError(
                401,
                "UNAUTHORIZED",
                "the token is missing or wrong: log in at /login, or send Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_ours(self, host: str) -> bool:
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
        return True  # nobody's DNS is asked for an address


def cookie_value(token: str) -> str:
    """Return what the cookie holds: proof of the token, which the browser need not keep itself."""
    return hmac.new(token.encode(), b"streamseg cookie", hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _knows(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same(given.strip(), token):
        return True
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return same(cookie, cookie_value(token))


def _is_person(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")


async def _redirect_to_login(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import RedirectResponse

    await RedirectResponse("/login", 303)(scope, receive, send)
