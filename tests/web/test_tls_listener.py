"""TLS handshakes that never end: they time out, and there is room for others meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from streamseg.web import tls_listener
from streamseg.web.server import Server
from tests.web.test_tokens import make_certificate


async def hello(scope, receive, send):
    await PlainTextResponse(scope["scheme"])(scope, receive, send)


async def response(port: int, trusted: ssl.SSLContext) -> bytes:
    """Make a whole request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    received = await reader.read()
    writer.close()
    return received


async def ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()


async def check(certificate: Path, key: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusted = ssl.create_default_context(cafile=str(certificate))
    ready = asyncio.Event()
    server = Server(hello, ready.set, context)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        serving = asyncio.create_task(server.serve([bound]))
        await ready.wait()
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        received = await response(port, trusted)
        assert received.startswith(b"HTTP/1.1 200")
        assert received.endswith(b"https")
        await ended(idle[0][0])  # made room
        wrong = await asyncio.open_connection("127.0.0.1", port)
        wrong[1].write(b"GET / HTTP/1.1\r\n\r\n")
        await ended(wrong[0])
        started = time.monotonic()
        for reader, _ in idle:  # the last ones time out
            await ended(reader)
        assert time.monotonic() - started < 30  # asyncio's own limit is 60 s
        server.stop()
        await serving
        for _, writer in [*idle, wrong]:
            writer.close()


def test_clients_without_a_handshake_do_not_block_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "MAX_HANDSHAKES", 8)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_TIMEOUT_S", 1.0)
    asyncio.run(asyncio.wait_for(check(*make_certificate(tmp_path, "here")), 60))
