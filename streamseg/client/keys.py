"""The keys of a client, for daemons whose endpoints need one."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamseg.errors import ConfigError
from streamseg.protocol.key_file import KEY, MAX_KEY_FILE_BYTES, read_fields

_FAILED: Final = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_MISMATCH: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_REFUSED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_DONE: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_MAX_EVENTS: Final = 1000
_TRY_AGAIN_S: Final = 2.0


KeyFile = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a connection needs to prove who it is, and to recognize the daemon.

    Attributes:
        public: The client's public key, in Z85.
        secret: Its secret key.
        server: The daemon's public key.
    """

    public: bytes
    secret: bytes
    server: bytes

    def apply(self, socket: zmq.Socket[Any]) -> None:
        """Make later connections of a socket use the keys."""
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server)

    def __repr__(self) -> str:
        return f"ClientKeys(public={self.public!r}, server={self.server!r})"


def load_keys(key_file: KeyFile | None, server_key: str | bytes | None = None) -> ClientKeys | None:
    """Return the keys in a file.

    Args:
        key_file: Written by ``streamseg keys``, pyzmq or czmq; None for no keys.
        server_key: The daemon's public key, if the file does not have it or has another one.

    Raises:
        ConfigError: the file cannot be read, or a key is missing or invalid.
    """
    if key_file is None:
        if server_key is not None:
            raise ConfigError("server_key needs key_file, too: the daemon has to know who you are")
        return None
    path = Path(key_file).expanduser()
    try:
        with path.open(encoding="utf-8") as file:
            fields = read_fields(file.read(MAX_KEY_FILE_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"key_file: {str(path)!r} cannot be read: {error}") from None
    server = server_key.decode(errors="replace") if isinstance(server_key, bytes) else server_key
    if server is None and not fields.get("server-key"):
        raise ConfigError(
            f"key_file: {str(path)!r} does not have the daemon's public key: give server_key (`streamseg keys list` on "
            "the daemon's machine shows it)"
        )
    found = (fields.get("public-key", ""), fields.get("secret-key", ""), server or fields["server-key"])
    for name, key in zip(("public-key", "secret-key", "server_key"), found, strict=True):
        if not KEY.fullmatch(key):
            what = "is missing" if not key else "is invalid: a key has 40 characters"
            raise ConfigError(f"{name} of {str(path)!r} {what}")
    return ClientKeys(*(key.encode() for key in found))


class HandshakeWatch:
    """Knows why a socket cannot connect, if it cannot. Used by the socket's thread.

    libzmq never tries again after a refusal, although the key may be authorized a moment later: :attr:`gave_up`.

    Args:
        context: Of the socket; may be one for asyncio.
        socket: The socket, before it connects.
        keyed: Whether it uses keys.
    """

    def __init__(self, context: zmq.Context[Any], socket: zmq.Socket[Any], *, keyed: bool) -> None:
        self._socket, self._keyed = socket, keyed
        self._problem = ""
        self._ended_at: float | None = None
        address = f"inproc://handshakes-{secrets.token_hex(8)}"
        socket.monitor(address, _FAILED | _MISMATCH | _REFUSED | _DONE)
        plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(context.underlying)
        self._events = plain.socket(zmq.PAIR)
        self._events.connect(address)

    @property
    def problem(self) -> str:
        """Why the last connection failed; empty if it did not."""
        self._read()
        return self._problem

    @property
    def gave_up(self) -> bool:
        """Whether the socket must be replaced to try again: libzmq gave up two seconds ago."""
        self._read()
        return self._ended_at is not None and time.monotonic() >= self._ended_at + _TRY_AGAIN_S

    def _read(self) -> None:
        for _ in range(_MAX_EVENTS):
            if not int(self._events.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            event = int(recv_monitor_message(self._events)["event"])
            self._ended_at = time.monotonic() if event in (_MISMATCH, _REFUSED) else None
            if event == _DONE:
                self._problem = ""
            elif event == _REFUSED:
                self._problem = "it refused the key: not authorized, revoked or expired (`streamseg keys list` there)"
            elif event == _MISMATCH:
                self._problem = (
                    "it asks for no key: leave key_file out"
                    if self._keyed
                    else "it asks for a key: give key_file (`streamseg keys authorize` on its machine makes one)"
                )
            elif self._keyed:
                self._problem = "it is not the daemon of that server_key, or asks for no key"

    def close(self) -> None:
        """Stop watching. Before the socket is closed."""
        with contextlib.suppress(zmq.ZMQError):
            self._socket.disable_monitor()
        self._events.close(linger=0)
