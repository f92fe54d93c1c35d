"""Limits for which uvicorn has no public setting. The only module that relies on uvicorn's internals.

- A timeout for the head of a request: ``timeout_keep_alive`` stops at its first byte.
- A bounded number of connections: ``limit_concurrency`` responds with 503 only once a request is complete.
- TLS handshakes with a timeout and a bound: see :mod:`streamseg.web.tls_listener`.
- A server that leaves signals to others, and reports when it accepts connections.

The internals are the overridden methods, the attributes ``connections``, ``cycle``, ``loop`` and ``transport`` of
``H11Protocol``, ``servers`` of ``Server``, and ``ssl`` of ``Config``. ``tests/web/test_http_protocol.py`` checks the
oldest and the newest allowed version.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamseg.web.tls_listener import TlsListener

HEAD_TIMEOUT_S: Final = 3.0
MAX_CONNECTIONS: Final = 512


class HttpProtocol(H11Protocol):
    """One connection.

    A head must arrive within 3 s. When there are too many connections, the one whose request has been incomplete the
    longest is closed, so that clients that never finish a request cannot lock out others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the head timer, and close another connection if there are too many."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._start_head_timer()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Run the head timer from the first to the last byte of a head."""
        if self._head_timer is None and not self._has_request():
            self._start_head_timer()
        super().data_received(data)
        if self._has_request():
            self._stop_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the head timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Note that the connection waits for the next request."""
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop the head timer: another protocol object takes over."""
        self._stop_head_timer()
        super().handle_websocket_upgrade(event)

    def _has_request(self) -> bool:
        cycle: Any = self.cycle  # uvicorn's annotation omits None
        return cycle is not None and not cycle.response_complete

    def _is_incomplete(self) -> bool:
        """Whether the connection waits for the client: for a head, or for the rest of a body."""
        return not self._has_request() or self.cycle.more_body

    def _make_room(self) -> None:
        waiting = [
            connection
            for connection in self.connections
            if isinstance(connection, HttpProtocol) and connection._is_incomplete()
        ]
        oldest = min(waiting, key=lambda connection: connection._waiting_since)
        self.connections.discard(oldest)  # `connection_lost` is called later
        oldest.transport.abort()

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        if not self._has_request():
            self.transport.abort()


class EmbeddedServer(uvicorn.Server):
    """A server that handles no signals and reports when it accepts connections.

    Args:
        config: Configuration of the server.
        on_ready: Called when the server accepts connections.
        tls: TLS context; None: plain HTTP.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        config.load()
        config.ssl = tls  # rather than file names, which uvicorn reads only once

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        context = self.config.ssl
        if context is None or sockets is None:
            await super().startup(sockets)
        else:
            await super().startup([])  # with sockets, uvicorn would give a TLS handshake a minute and not count it
            listeners = [TlsListener(bound, context, self._make_protocol, self.config.backlog) for bound in sockets]
            self.servers = cast("list[asyncio.Server]", listeners)  # uvicorn calls `close` and `wait_closed`
        self._on_ready()

    def _make_protocol(self) -> asyncio.Protocol:
        return HttpProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the supervisor."""
        yield
