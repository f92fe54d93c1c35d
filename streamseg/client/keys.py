"""The keys of a client, for daemons whose endpoints need one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
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
_UNHEARD: Final = zmq.EVENT_CLOSED
"""Nobody accepted a connection: what is known of the last handshake is out of date."""
_MAX_EVENTS: Final = 100_000
"""Events queued while the program holds the interpreter's lock; at ten attempts a second, hours."""
_TRY_AGAIN_S: Final = 2.0
_LIKE_KEY: Final = re.compile(KEY.pattern.replace("{40}", "{36,40}"))
"""``pathlib`` shortens a key that contains ``//`` or ``/./``."""
_GIVE_KEY: Final = "give key_file (`streamseg keys authorize` on its machine makes one)"


KeyFile = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Keys with which a client authenticates itself and the daemon.

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
        server_key: The daemon's public key, if the file lacks it or has another one.

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
        if _may_be_key(path):
            raise ConfigError(
                "key_file cannot be read, and is not repeated, since it may be a key: write the path of the file that "
                "has the key"
            ) from None
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


def _may_be_key(path: Path) -> bool:
    """Whether a given path may be a secret key: it looks like one, and its folder does not exist."""
    in_folder = path.parent not in (Path(), Path("/")) and path.parent.is_dir()
    return not in_folder and bool(_LIKE_KEY.fullmatch(str(path)))


class _Handshakes:
    """Results of a socket's last handshakes. Written by the monitor's thread, read by the socket's.

    Args:
        keyed: Whether the socket uses keys.
        problem: Why the previous socket could not connect.
    """

    def __init__(self, *, keyed: bool, problem: str) -> None:
        self._keyed = keyed
        self.problem = problem
        self.ended_at: float | None = None

    def read(self, events: zmq.Socket[bytes]) -> None:
        """Receive events until the monitor stops, then close their socket."""
        try:
            while (event := int(recv_monitor_message(events)["event"])) != zmq.EVENT_MONITOR_STOPPED:
                self._take(event)
        except zmq.ZMQError:  # the context is terminated
            pass
        finally:
            events.close(linger=0)

    def _take(self, event: int) -> None:
        self.ended_at = time.monotonic() if event in (_MISMATCH, _REFUSED) else None
        if event in (_DONE, _UNHEARD):
            self.problem = ""
        elif event == _REFUSED:
            self.problem = "it refused the key: not authorized, revoked or expired (`streamseg keys list` there)"
        elif event == _MISMATCH:
            self.problem = (
                "it asks for no key: leave key_file out" if self._keyed else f"it asks for a key: {_GIVE_KEY}"
            )
        elif self._keyed:
            # A tunnel or a container's proxy without a daemon behind it closes, too.
            self.problem = (
                "it closes connections during the handshake: perhaps it is not the daemon of that server_key, or asks "
                "for no key"
            )
        elif not self.problem:
            # A server that requires a key often closes before its greeting is read.
            self.problem = f"it closes connections during the handshake: perhaps it asks for a key: {_GIVE_KEY}"


class HandshakeWatch:
    """Knows why a socket cannot connect, if it cannot. Used by the socket's thread.

    libzmq never tries again after a refusal, although the key may be authorized a moment later: :attr:`gave_up`.

    A thread reads the events, because libzmq's I/O thread blocks when they are not read: a client that is idle while a
    server accepts and closes its connections would stop for good after 2000 of them, and freeze when it is closed.

    Args:
        context: Context of the socket; may be an asyncio one.
        socket: The socket, before it connects.
        keyed: Whether it uses keys.
        problem: Why the replaced socket could not connect: remains the reason until more is known.
    """

    def __init__(self, context: zmq.Context[Any], socket: zmq.Socket[Any], *, keyed: bool, problem: str = "") -> None:
        self._socket = socket
        self._handshakes = _Handshakes(keyed=keyed, problem=problem)
        address = f"inproc://handshakes-{secrets.token_hex(8)}"
        socket.monitor(address, _FAILED | _MISMATCH | _REFUSED | _DONE | _UNHEARD | zmq.EVENT_MONITOR_STOPPED)
        plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(context.underlying)
        events = plain.socket(zmq.PAIR)
        events.setsockopt(zmq.RCVHWM, _MAX_EVENTS)
        events.connect(address)
        # The thread does not reference the watch or its socket, so an unclosed client is still garbage-collected.
        self._thread = threading.Thread(
            target=self._handshakes.read, args=(events,), name="streamseg-handshakes", daemon=True
        )
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why the last connection failed; empty if it did not."""
        return self._handshakes.problem

    @property
    def gave_up(self) -> bool:
        """Whether the socket must be replaced to try again: libzmq gave up two seconds ago."""
        ended_at = self._handshakes.ended_at
        return ended_at is not None and time.monotonic() >= ended_at + _TRY_AGAIN_S

    def close(self) -> None:
        """Stop watching. Call it before the socket is closed. Waits at most a second for the thread."""
        with contextlib.suppress(zmq.ZMQError):
            self._socket.disable_monitor()
        self._thread.join(timeout=1.0)
