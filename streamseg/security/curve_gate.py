"""CURVE for a bound socket: decides who may connect, and tells who sent a message.

Ours because ``zmq.auth`` does not close connections when their key is revoked. See also :mod:`streamseg.security.zap`.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import zmq
from zmq.utils import z85

from streamseg.security.authorized_keys import AuthorizedKey
from streamseg.security.connections import Connection, connection_of, is_open, shut_down
from streamseg.security.key_folder import KeyFolder
from streamseg.security.zap import Handshake, HandshakeSocket

log = logging.getLogger(__name__)

_DOMAIN: Final = b"streamseg"
_MIN_MESSAGE_BYTES: Final = 512
"""Handshake commands have about 300 bytes, and a socket's message limit applies to them, too."""
_HANDSHAKE_MS: Final = 10_000
"""libzmq closes connections without a handshake after this time; its default of 30 s would hold descriptors longer."""
_LOG_S: Final = 10.0
_TIDY_S: Final = 1.0
_MAX_PER_TURN: Final = 16


class CurveGate:
    """Admits holders of authorized keys to the endpoints of one context's sockets. Used by one thread.

    Args:
        handshakes: Handshakes of the context. They wait for :meth:`handle_handshakes` or :meth:`decide`.
        keys: The daemon's folder of keys.

    Attributes:
        closed: Number of connections that were closed because their key was revoked, expired or changed.

    Raises:
        ConfigError: the daemon has no key.
    """

    def __init__(self, handshakes: HandshakeSocket, keys: KeyFolder) -> None:
        self._handshakes = handshakes
        self._public, self._secret = keys.own_pair()
        self._keys = keys.watched()
        self._users: dict[Connection, str] = {}
        self._ending: set[Connection] = set()
        self._tidy_at = 0.0
        self._refused = 0
        self._log_at = 0.0
        self.closed = 0

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Make all later binds of a socket require a key. Bind endpoints that need none before."""
        limit = int(socket.getsockopt(zmq.MAXMSGSIZE))
        socket.setsockopt(zmq.MAXMSGSIZE, limit if limit < 0 else max(limit, _MIN_MESSAGE_BYTES))
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        # Otherwise libzmq admits everyone if it cannot reach a ZAP handler.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def handle_handshakes(self) -> None:
        """Admit or refuse the waiting connections."""
        for _ in range(_MAX_PER_TURN):
            handshake = self._handshakes.receive()
            if handshake is None:
                return
            self.decide(handshake)

    def decide(self, handshake: Handshake) -> bool:
        """Admit or refuse a connection; return whether it was still open."""
        key = ""
        if handshake.mechanism == b"CURVE" and handshake.domain == _DOMAIN and handshake.credentials:
            key = z85.encode(handshake.credentials[0]).decode()
        found = self._keys.find(key)
        if found is None:
            self.refresh(early=True)
            found = self._keys.find(key)
        if found is None:
            self._log_refusal(handshake.address, key)
            return self._handshakes.refuse(handshake, "this key is not authorized")
        log.debug("%s connects from %s", found.name, handshake.address)
        return self._handshakes.admit(handshake, key.encode())

    def holder_of(self, message: zmq.Frame) -> AuthorizedKey | None:
        """Return who sent a message; None if it came through an endpoint that needs no key.

        Raises:
            PermissionError: the key is no longer authorized; the connection was closed.
        """
        try:
            user = str(message.get("User-Id"))
        except zmq.ZMQError:
            return None
        if not user:  # admitted without a key; a holder's is never empty
            return None
        connection = connection_of(message)
        found = self._keys.find(user)
        if found is None:
            if connection is not None:
                self._close(connection)
            raise PermissionError(f"the key {user} is no longer authorized")
        if connection is not None:
            self._users[connection] = user
        return found

    def refresh(self, *, early: bool = False) -> None:
        """Read the folder of keys again, and close the connections of keys whose rights have changed.

        Args:
            early: Do it even if it was done within the last second.
        """
        changed = self._keys.refresh(early=early)
        if changed:
            self._ending.update(one for one, user in self._users.items() if user in changed)
        for connection in tuple(self._ending):
            self._close(connection)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_S
            self._users = {connection: user for connection, user in self._users.items() if is_open(connection)}
        if changed:
            log.info("keys were changed or revoked: %d; connections closed so far: %d", len(changed), self.closed)

    def _close(self, connection: Connection) -> None:
        """Close a connection. If that fails, retry at each :meth:`refresh`."""
        if closed := shut_down(connection):
            self.closed += 1
        if closed or not is_open(connection):
            self._users.pop(connection, None)
            self._ending.discard(connection)
        else:
            self._ending.add(connection)

    def _log_refusal(self, address: str, key: str) -> None:
        self._refused += 1
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + _LOG_S
            log.warning("%s was refused: its key %s is not authorized; %d refused so far", address, key, self._refused)
