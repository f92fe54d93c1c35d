"""Bind sockets, with errors that name the setting, and without stealing another daemon's address."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

import zmq

from streamseg.errors import ConfigError
from streamseg.protocol.topics import MAX_IPC_PATH, is_loopback

BIND_MENDS: Final = {
    errno.EADDRINUSE: "another program listens there, perhaps a second streamseg: end it or choose another address",
    errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
    errno.ENODEV: "no network interface of this machine has that name",
    errno.EACCES: "no permission: choose a port above 1023, or a folder that this user may write to",
    errno.ENOENT: "there is no such folder: create it first",
    errno.ENOTDIR: "there is no such folder: create it first",
}
"""Error number of a failed bind -> why, and what to do."""

_FORM: Final = "write tcp://HOST:PORT or ipc:///PATH"


class PathClaim:
    """The sole right to a Unix socket's path, from construction to :meth:`release`.

    A second bind to a path silently takes it from the first, and the first daemon's subscribers with it. So there is
    a lock file beside the socket; the kernel drops the lock when its holder dies.

    Args:
        path: Of the socket.

    Raises:
        BlockingIOError: another process has it.
        OSError: the lock file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        while True:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_ours(fd):
                    break
            except OSError:
                os.close(fd)
                raise
            os.close(fd)  # its owner removed the file between our open and our lock
        self._fd = fd

    def _is_ours(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._lock_path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the socket's file and the lock."""
        if self._path.is_socket():
            self._path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._fd)


def bind(socket: zmq.Socket[bytes], endpoint: str, setting: str) -> tuple[str, PathClaim | None]:
    """Bind a socket.

    Args:
        socket: To be bound.
        endpoint: ``tcp://HOST:PORT`` (port ``*``: one that is free) or ``ipc:///PATH``.
        setting: What to call the endpoint in errors, for example ``publish.endpoints``.

    Returns:
        The address it listens on, and for ``ipc`` the claim to release after the socket is closed.

    Raises:
        ConfigError: it cannot be bound; says why and what to do.
    """
    claim = None
    try:
        if endpoint.startswith("ipc://"):
            claim = PathClaim(_ipc_path(endpoint, setting))
        socket.setsockopt(zmq.IPV6, "[" in endpoint)
        before = os.umask(0o007)
        try:
            socket.bind(endpoint)
        finally:
            os.umask(before)
    except BlockingIOError:
        raise _refusal(setting, endpoint, BIND_MENDS[errno.EADDRINUSE]) from None
    except (OSError, zmq.ZMQError) as error:
        if claim is not None:
            claim.release()
        raise _refusal(setting, endpoint, BIND_MENDS.get(error.errno or 0, f"{error}; {_FORM}")) from None
    return socket.get_string(zmq.LAST_ENDPOINT), claim


def remove_left_behind(endpoint: str) -> None:
    """Remove the files of an ``ipc`` socket whose owner was killed before it could; not those of one that is in use.

    Args:
        endpoint: What was to be bound; other transports leave nothing behind.
    """
    path = Path(endpoint.removeprefix("ipc://"))
    with contextlib.suppress(OSError):  # somebody has it, or it is nowhere that we may look
        lock_alone = not path.exists() and path.with_name(path.name + ".lock").exists()
        if endpoint.startswith("ipc:///") and (path.is_socket() or lock_alone):
            PathClaim(path).release()


def _ipc_path(endpoint: str, setting: str) -> Path:
    path = endpoint.removeprefix("ipc://")
    if not path.startswith("/"):
        raise _refusal(setting, endpoint, "the path is not absolute: write ipc:///PATH, with three slashes")
    if len(os.fsencode(path)) > MAX_IPC_PATH:
        raise _refusal(setting, endpoint, f"sockets take paths of at most {MAX_IPC_PATH} bytes: use a shorter one")
    if Path(path).exists() and not Path(path).is_socket():
        raise _refusal(
            setting, endpoint, "there is a file that is no socket: choose another path"
        )  # bind would delete it
    return Path(path)


def _refusal(setting: str, endpoint: str, reason: str) -> ConfigError:
    return ConfigError(f"{setting}: {endpoint!r} cannot be bound: {reason}")


def require_private(endpoint: str, setting: str, danger: str) -> None:
    """Check that only this machine reaches an endpoint; there is no authentication yet.

    Args:
        endpoint: Its address.
        setting: What to call it in the error.
        danger: What others could do, and the mend.

    Raises:
        ConfigError: others can reach it.
    """
    if endpoint.startswith("ipc://"):
        return
    if not is_loopback(endpoint.removeprefix("tcp://").rpartition(":")[0]):
        raise ConfigError(f"{setting}: {endpoint!r} can be reached from other machines and everybody there {danger}")
