"""The login page, and the cookie that it sets."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from streamseg.security.cookie import cookie_of
from streamseg.web.guard import address_of
from streamseg.web.tokens import COOKIE, Tokens

_PAGE: Final = Path(__file__).parent / "static" / "login.html"
_HOME: Final = "./"
"""Relative, like all addresses here: a proxy may add a path prefix."""
_COOKIE_MAX_AGE_S: Final = 30 * 24 * 3600


async def show_login(request: Request) -> Response:
    """Return the login page."""
    return FileResponse(_PAGE)


async def log_in(request: Request) -> Response:
    """Check the token of the form: set the cookie and redirect to the page, or back to the form."""
    tokens: Tokens | None = request.app.state.tokens
    if tokens is None or not tokens.required:
        return RedirectResponse(_HOME, 303)
    given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0]
    cookie = cookie_of(given.strip())
    if tokens.find(cookie, address_of(request.scope)) is None:
        return RedirectResponse("login#wrong", 303)
    response = RedirectResponse(_HOME, 303)
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    response.set_cookie(COOKIE, cookie, _COOKIE_MAX_AGE_S, httponly=True, samesite="strict", secure=secure)
    return response
