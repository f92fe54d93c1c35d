"""Every request ends, and every error has a response."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocketClose

from streamseg.web import request_limits
from streamseg.web.request_limits import MAX_BODY_BYTES, MAX_HEAD_BYTES, RequestLimits
from tests.web.asgi import ask


async def length(scope, receive, send):
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


def test_a_body_of_the_greatest_length_passes():
    pieces = [b"x" * (MAX_BODY_BYTES // 2)] * 2
    assert ask(RequestLimits(length), method="POST", body=pieces).body == str(MAX_BODY_BYTES).encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("host", "x"), ("content-length", str(MAX_BODY_BYTES + 1))], None),
        ([("host", "x")], [b"x" * 1000] * (MAX_BODY_BYTES // 1000 + 2)),
    ],
)
def test_a_longer_body_is_refused(headers, body):
    response = ask(RequestLimits(length), headers=headers, method="POST", body=body)
    assert (response.status, response.json["error"]["code"]) == (413, "TOO_LARGE")


def test_an_endless_body_times_out(monkeypatch):
    monkeypatch.setattr(request_limits, "_BODY_TIMEOUT_S", 0.05)

    async def drip(scope, receive, send):
        async def forever():
            await asyncio.Event().wait()

        await RequestLimits(length)(scope, forever, send)

    assert ask(drip, method="POST").status == 408


def test_a_client_that_reads_nothing_times_out(monkeypatch):
    monkeypatch.setattr(request_limits, "_SEND_TIMEOUT_S", 0.05)

    async def stuck(scope, receive, send):
        async def never(message):
            await asyncio.Event().wait()

        await RequestLimits(length)(scope, receive, never)

    with pytest.raises(IndexError):  # nothing was sent, and the request has ended
        ask(stuck)


def test_a_client_that_leaves_in_the_middle_of_a_body_is_not_an_error(caplog):
    async def drip(scope, receive, send):
        messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

        async def leave():
            return messages.pop(0)

        await RequestLimits(length)(scope, leave, send)

    with pytest.raises(IndexError):  # there is no one to respond to
        ask(drip, method="POST")
    assert caplog.text == ""


def test_an_internal_error_is_reported_without_details(caplog):
    async def broken(scope, receive, send):
        raise ZeroDivisionError("secret")

    response = ask(RequestLimits(broken))
    assert (response.status, response.json["error"]["code"]) == (500, "INTERNAL")
    assert b"secret" not in response.body
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("excess", [0, 1])
def test_a_head_above_the_limit_is_refused(kind, excess):
    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await WebSocketClose(1000, "inside")(scope, receive, send)
        else:
            await length(scope, receive, send)

    headers = [("host", "x"), ("x", "y" * (MAX_HEAD_BYTES - 7 + excess))]  # 7: the path "/", "host", "x" and "x"
    response = ask(RequestLimits(app), headers=headers, kind=kind)
    if kind == "websocket":
        assert response.messages[0]["code"] == (1009 if excess else 1000)
    else:
        assert response.status == (431 if excess else 200)


def test_headers_that_keep_foreign_script_out():
    policy = ask(RequestLimits(length)).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
