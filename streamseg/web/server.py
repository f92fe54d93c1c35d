"""The HTTP server: uvicorn with limits that suit a small service."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from streamseg.common.open_files import raise_open_files
from streamseg.web.http_protocol import EmbeddedServer, HttpProtocol
from streamseg.web.request_limits import MAX_HEAD_BYTES

_KEEP_ALIVE_S: Final = 10
_OPEN_FILES: Final = 4096
_BACKLOG: Final = 2048
_SMALL_BACKLOG: Final = 128
"""Used if the limit on open files cannot be raised beyond the usual 1024.

asyncio accepts a whole backlog before it handles any connection. If that exceeds the limit, no connection is accepted
for a second.
"""

_MAX_WEBSOCKET_MESSAGE_BYTES: Final = 4096
_SHUTDOWN_GRACE_S: Final = 0.2
"""Time for open responses and WebSockets to finish."""


class Server(EmbeddedServer):
    """Serves one application on one socket.

    Args:
        app: The application.
        on_ready: Called when the server accepts connections.
        tls: TLS context; None: plain HTTP.
    """

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None], tls: ssl.SSLContext | None = None) -> None:
        # The application logs what matters; uvicorn would log every malformed request.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws="websockets-sansio",
                ws_max_size=_MAX_WEBSOCKET_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=_KEEP_ALIVE_S,
                backlog=_BACKLOG if raise_open_files(_OPEN_FILES) else _SMALL_BACKLOG,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
            ),
            on_ready,
            tls,
        )

    def stop(self) -> None:
        """Stop after a short grace period, even if clients are still connected."""
        self.should_exit = True
        asyncio.get_running_loop().call_later(_SHUTDOWN_GRACE_S, self._force_stop)

    def _force_stop(self) -> None:
        self.force_exit = True
