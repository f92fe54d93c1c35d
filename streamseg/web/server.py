"""The HTTP server: uvicorn, without its signal handlers, and with a bound on connections that ask for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_REQUEST_S: Final = 10.0
"""Longest wait for the head of a request, and for the next request on a connection."""

_MAX_CONNECTIONS: Final = 512
_MAX_MESSAGE_BYTES: Final = 4096
_MAX_HEAD_BYTES: Final = 16 * 1024
_LAST_WORDS_S: Final = 0.2


class Server(uvicorn.Server):
    """Serves one application on one socket.

    Args:
        app: The application.
        on_ready: Called when connections are accepted.
    """

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None]) -> None:
        # What happens to a request is said by the application; uvicorn would log each malformed one.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="websockets-sansio",
                ws_max_size=_MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
                timeout_keep_alive=int(_REQUEST_S),
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the supervisor."""
        yield

    def stop(self) -> None:
        """End soon, whoever is connected."""
        self.should_exit = True
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._stop_now)

    def _stop_now(self) -> None:
        self.force_exit = True


class _Protocol(H11Protocol):
    """HTTP/1.1 that closes connections without a request, and refuses too many of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_request()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(_REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        # `cycle` is the request that is served; uvicorn's type does not say that there may be none.
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.abort()
