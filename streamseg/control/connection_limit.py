"""Bounds the connections of the control socket that have not sent a request yet.

Each uses a descriptor, even before its key is checked, and libzmq does not limit them.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import zmq

from streamseg.security.connections import (
    Connection,
    accepted_connections,
    connection_at,
    connection_of,
    is_open,
    shut_down,
)
from streamseg.security.monitor_event import receive_monitor_event

log = logging.getLogger(__name__)

_MAX_SILENT: Final = 256
_MAX_PER_TURN: Final = 1024
_LOG_S: Final = 10.0


class ConnectionLimit:
    """Closes the oldest silent connection of a socket when there are too many. Used by one thread.

    A client whose connection is closed reconnects by itself, and keeps the connection once it sends a request.

    Args:
        socket: The socket, not bound yet.
        limit: Maximum number of silent connections.

    Attributes:
        accepted: Readable while new connections wait for :meth:`handle_accepted`.
        closed: Number of connections that were closed.
    """

    def __init__(self, socket: zmq.Socket[bytes], limit: int = _MAX_SILENT) -> None:
        self._socket = socket
        self._limit = limit
        self._silent: dict[Connection, None] = {}
        self._heard: set[Connection] = set()
        self._tidy_at = _MAX_PER_TURN
        self._log_at = 0.0
        self.closed = 0
        self.accepted = accepted_connections(socket)

    def handle_accepted(self) -> None:
        """Count the new connections."""
        for _ in range(_MAX_PER_TURN):
            if not self.accepted.poll(0):
                return
            connection = connection_at(receive_monitor_event(self.accepted)[1])
            if connection is not None and connection not in self._heard:
                self._silent[connection] = None

    def heard(self, message: zmq.Frame) -> None:
        """Stop counting a connection as silent after a request. It may not have been counted yet."""
        connection = connection_of(message)
        if connection is None:
            return
        self._silent.pop(connection, None)
        self._heard.add(connection)
        if len(self._heard) > self._tidy_at:
            self._heard = {one for one in self._heard if is_open(one)}
            self._tidy_at = max(_MAX_PER_TURN, 2 * len(self._heard))

    def close_silent(self) -> None:
        """Close the oldest silent connections beyond the limit. Call it when no requests are waiting to be read."""
        if len(self._silent) > self._limit:
            self._silent = {one: None for one in self._silent if is_open(one)}
        while len(self._silent) > self._limit:
            self._close(next(iter(self._silent)))

    def close(self) -> None:
        """Stop counting. Call it before the socket is closed."""
        self._socket.disable_monitor()
        self.accepted.close(linger=0)

    def _close(self, connection: Connection) -> None:
        del self._silent[connection]
        if not shut_down(connection):
            return
        self.closed += 1
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + _LOG_S
            log.warning(
                "more than %d connections without a request: the oldest are closed; %d so far", self._limit, self.closed
            )
