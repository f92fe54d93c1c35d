"""Calls an ASGI application directly, with headers that HTTP libraries refuse to send."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request


class Response:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start = messages[0]
        self.status: int = start.get("status", 0)
        self.headers = {name.decode().lower(): value.decode() for name, value in start.get("headers", [])}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])
        self.messages = messages

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any,
    path: str = "/",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    method: str = "GET",
    body: list[bytes] | None = None,
    kind: str = "http",
) -> Response:
    """Make one request; ``body`` arrives in these pieces and never ends if the last one is empty."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers or [("host", "127.0.0.1:8080")])
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 1),
        "asgi": {"version": "3.0"},
    }
    pieces = body or [b""]
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        at = 0

        async def receive() -> dict[str, Any]:
            nonlocal at
            if kind == "websocket":
                return {"type": "websocket.connect"}
            if at == len(pieces):
                await asyncio.Event().wait()
            at += 1
            return {"type": "http.request", "body": pieces[at - 1], "more_body": at < len(pieces)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async with asyncio.timeout(20):
            await app(scope, receive, send)

    asyncio.run(run())
    return Response(sent)


class Leaver:
    """A client that sends a request and goes away before the response.

    Args:
        body: Of the request, JSON.
        **scope: What else the handler needs: ``path_params``, ``query_string``.
    """

    def __init__(self, body: object, **scope: Any) -> None:
        self.gone = asyncio.Event()
        headers = [(b"content-type", b"application/json")]
        self.request = Request({"type": "http", "headers": headers, **scope}, self._receive)
        self._messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}
