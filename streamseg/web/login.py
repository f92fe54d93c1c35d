"""The page that asks for the token, and the cookie that remembers it."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from streamseg.web.guard import COOKIE, cookie_value, same

_PAGE: Final = Path(__file__).parent / "static" / "login.html"
_REMEMBERED_S: Final = 30 * 24 * 3600


async def show_login(request: Request) -> Response:
    """Ask for the token."""
    return FileResponse(_PAGE)


async def log_in(request: Request) -> Response:
    """Take the token of the form: the page is next, or the form again."""
    token: str | None = request.app.state.token
    given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0]
    if token is None:
        return RedirectResponse("/", 303)
    if not same(given.strip(), token):
        return RedirectResponse("/login#wrong", 303)
    answer = RedirectResponse("/", 303)
    secure = request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(COOKIE, cookie_value(token), _REMEMBERED_S, httponly=True, samesite="strict", secure=secure)
    return answer
