"""Access control: checks of Host, Origin and token before a request reaches the application.

Ours because the rules belong together and must cover WebSockets. Starlette's ``TrustedHostMiddleware`` does not accept
addresses it was not given, none of its middleware checks Origin, and packages for logins bring accounts and sessions
where there is one token.
"""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from streamseg.web.api_error import ApiError

COOKIE: Final = "streamseg"
PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/login", "/static/login.css"})
"""Paths that need no token. They reveal nothing of what the cameras see."""


class Guard:
    """Middleware that rejects unauthorized and cross-site requests.

    - **Host** must be an address, ``localhost`` or a name from ``http.hosts``. This stops DNS rebinding, where a
      foreign site points its own name at this machine.
    - **Origin**, which browsers send with WebSockets and all state-changing requests, must be the page's own.
    - **The token**, if one is set, comes as ``Authorization: Bearer`` or in the cookie that ``/login`` sets.

    Args:
        app: The application to protect.
        token: The token; None if none is required.
        hosts: Additional names of this machine.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._token = token
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
                up = "../" * (scope["path"].count("/") - 1)  # relative: a proxy may serve this below a path of its own
                await RedirectResponse(f"{up}login", 303)(scope, receive, send)
            else:
                await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

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
        if self._token is not None and scope["path"] not in PUBLIC_PATHS and not _has_token(headers, self._token):
            raise ApiError(
                401,
                "UNAUTHORIZED",
                "the token is missing or wrong: log in at /login, or send Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

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


def cookie_value(token: str) -> str:
    """Return the value of the login cookie: it proves that the browser had the token without storing it."""
    return hmac.new(token.encode(), b"streamseg cookie", hashlib.sha256).hexdigest()


def secrets_equal(given: str, expected: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _cross_site() -> ApiError:
    return ApiError(403, "CROSS_SITE", "requests from other sites are refused: open this page directly")


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secrets_equal(given.strip(), token):
        return True
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return secrets_equal(cookie, cookie_value(token))


def _wants_html(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
