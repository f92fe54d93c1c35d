"""Bodies of requests."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from streamseg.web.api_error import ApiError
from streamseg.web.operations import read_body
from streamseg.web.stream_api import NewStream


def request_with(body: Any) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}, receive)


@pytest.mark.parametrize("wrap", [lambda address: [address], lambda address: address + "a" * 3000])
def test_a_refused_address_is_quoted_without_its_password(wrap):
    body = {"id": "cam", "source": wrap("rtsp://admin:hunter2@192.0.2.1/x")}
    with pytest.raises(ApiError, match="source") as refused:
        asyncio.run(read_body(request_with(body), NewStream))
    assert "hunter2" not in str(refused.value)
