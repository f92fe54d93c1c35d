"""Accepts TLS connections, with a bound on handshakes in progress.

Ours because uvicorn passes no timeout to ``loop.create_server``, whose default is a minute, and because asyncio has no
bound: sockets that never begin a handshake would use up all file descriptors before a connection is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S: Final = 3.0
MAX_HANDSHAKES: Final = 256
_SHUTDOWN_TIMEOUT_S: Final = 3.0
_PAUSE_S: Final = 0.1
"""Wait after a failed accept, for example for lack of file descriptors."""


class TlsListener:
    """Accepts connections on a socket. Used by one event loop, instead of an ``asyncio.Server``.

    When too many handshakes are in progress, the oldest is ended, so that idle clients cannot lock out others.

    Args:
        bound: The socket; it is not closed.
        context: TLS context.
        make_protocol: Returns the protocol of a connection; it is used once its handshake is complete.
        backlog: Connections that the kernel keeps until they are accepted.
    """

    def __init__(
        self, bound: socket.socket, context: ssl.SSLContext, make_protocol: Callable[[], asyncio.Protocol], backlog: int
    ) -> None:
        self._bound = bound
        self._context = context
        self._make_protocol = make_protocol
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}  # the oldest first
        bound.setblocking(False)
        bound.listen(backlog)
        self._accepting = asyncio.create_task(self._accept(), name="accept TLS connections")

    def close(self) -> None:
        """Accept no more connections, and end the handshakes."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until :meth:`close` is done."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._bound)
            except OSError as error:
                log.debug("a connection could not be accepted: %s", error)
                await asyncio.sleep(_PAUSE_S)
                continue
            while len(self._handshakes) >= MAX_HANDSHAKES:
                self._end(next(iter(self._handshakes)))
            task = asyncio.create_task(self._shake_hands(connection))
            self._handshakes[task] = connection
            task.add_done_callback(lambda task: self._handshakes.pop(task, None))
            await asyncio.sleep(0)  # `sock_accept` does not yield while there are more connections

    def _end(self, task: asyncio.Task[None]) -> None:
        connection = self._handshakes.pop(task)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        task.cancel()

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            )
        except OSError as error:  # also `ssl.SSLError` and timeouts
            log.debug("no TLS connection: %s", error)
