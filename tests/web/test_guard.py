"""Requests with a foreign Host or Origin, or without the token, are rejected."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

from streamseg.security.cookie import cookie_of
from streamseg.web.guard import Guard
from streamseg.web.tokens import COOKIE, Tokens
from tests.web.asgi import ask

TOKEN = "0123456789abcdef"
HERE = ("host", "127.0.0.1:8080")


async def inside(scope, receive, send):
    if scope["type"] == "websocket":
        await WebSocketClose(1000, "inside")(scope, receive, send)
    else:
        await PlainTextResponse("inside")(scope, receive, send)


OPEN = Guard(inside, tokens=None, hosts=("camera.example",))
CLOSED = Guard(inside, tokens=Tokens(TOKEN), hosts=())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:8080", "192.0.2.7:80", "Camera.Example:1"],
)
def test_own_hosts_are_accepted(host):
    assert ask(OPEN, headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"]
)
def test_a_foreign_host_gets_nothing(host):
    response = ask(OPEN, headers={"host": host})
    assert response.status == 421
    assert "http.hosts" in response.json["error"]["message"]


@pytest.mark.parametrize("headers", [[("x", "y")], [HERE, ("host", "127.0.0.1:8080")]])
def test_a_missing_or_double_host_is_refused(headers):
    assert ask(OPEN, headers=headers).status == 421


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8080", 200),
        ("https://127.0.0.1:8080", 200),
        ("http://127.0.0.1:8081", 403),
        ("http://evil.example", 403),
        ("http://127.0.0.1:8080.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_origin_must_be_the_page_itself(origin, status, method):
    assert ask(OPEN, headers=[HERE, ("origin", origin)], method=method).status == status


def test_another_site_may_link_here_but_not_fetch():
    fetched = [HERE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]
    linked = [HERE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    assert ask(OPEN, headers=fetched).status == 403
    assert ask(OPEN, headers=linked).status == 200


def test_websockets_of_other_sites_are_refused():
    refused = ask(OPEN, "/v1/live", [HERE, ("origin", "http://evil.example")], kind="websocket").messages
    assert refused == [{"type": "websocket.close", "code": 1008, "reason": "CROSS_SITE"}]
    allowed = ask(OPEN, "/v1/live", [HERE, ("origin", "http://127.0.0.1:8080")], kind="websocket").messages
    assert allowed[0]["reason"] == "inside"


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("authorization", f"Bearer {TOKEN}", 200),
        ("authorization", f"bearer  {TOKEN}", 200),
        ("authorization", f"Basic {TOKEN}", 401),
        ("authorization", "Bearer nonsense", 401),
        ("authorization", "Bearer ünïcode", 401),
        ("cookie", f"{COOKIE}={cookie_of(TOKEN)}", 200),
        ("cookie", f"a=b; {COOKIE}={cookie_of(TOKEN)}; c=d", 200),
        ("cookie", f"{COOKIE}={TOKEN}", 401),
        ("cookie", f"{COOKIE}={cookie_of('another')}", 401),
        ("x", "y", 401),
    ],
)
def test_the_token_is_accepted_as_bearer_or_cookie(name, value, status):
    response = ask(CLOSED, "/v1/streams", [HERE, (name, value)])
    assert response.status == status
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.body.decode()


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/login", "/static/login.css", "/static/page.css", "/static/icon.svg"]
)
def test_requests_that_need_no_token(path):
    assert ask(CLOSED, path, [HERE]).status == 200


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/static/../v1/streams", "//healthz", "/login/", "/metrics"])
def test_everything_else_needs_the_token(path):
    assert ask(CLOSED, path, [HERE]).status == 401


def test_a_browser_is_redirected_to_the_login():
    response = ask(CLOSED, "/", [HERE, ("accept", "text/html,*/*")])
    assert (response.status, response.headers["location"]) == (303, "login")


def test_a_websocket_without_the_token_is_refused():
    assert ask(CLOSED, "/v1/live", [HERE], kind="websocket").messages[0]["reason"] == "UNAUTHORIZED"
