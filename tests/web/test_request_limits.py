"""No request without end, and no error without an answer."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import Response

from streamseg.web import request_limits
from streamseg.web.request_limits import MAX_BODY_BYTES, RequestLimits
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
def test_a_longer_one_does_not(headers, body):
    answer = ask(RequestLimits(length), headers=headers, method="POST", body=body)
    assert (answer.status, answer.json["error"]["code"]) == (413, "TOO_LARGE")


def test_a_body_that_does_not_end(monkeypatch):
    monkeypatch.setattr(request_limits, "_BODY_S", 0.05)

    async def drip(scope, receive, send):
        async def forever():
            await asyncio.Event().wait()

        await RequestLimits(length)(scope, forever, send)

    assert ask(drip, method="POST").status == 408


def test_a_reader_that_takes_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(request_limits, "_SEND_S", 0.05)

    async def stuck(scope, receive, send):
        async def never(message):
            await asyncio.Event().wait()

        await RequestLimits(length)(scope, receive, never)

    with pytest.raises(IndexError):  # nothing was sent, and the request is over
        ask(stuck)


def test_a_fault_of_ours_is_told_without_its_details(caplog):
    async def broken(scope, receive, send):
        raise ZeroDivisionError("secret")

    answer = ask(RequestLimits(broken))
    assert (answer.status, answer.json["error"]["code"]) == (500, "INTERNAL")
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text


def test_headers_that_keep_foreign_script_out():
    policy = ask(RequestLimits(length)).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
