"""Bind sockets without taking another daemon's address. Errors name the setting."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

import zmq

from streamseg.errors import AddressNotHereError, ConfigError
from streamseg.protocol.topics import MAX_IPC_PATH

_FIXES: Final = {
    errno.EADDRINUSE: "another program listens there, perhaps a second streamseg: stop it or choose another address",
    errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
    errno.ENODEV: "no network interface of this machine has that name",
    errno.EACCES: "permission denied: choose a port above 1023, or a directory that this user may write to",
    errno.ENOENT: "the directory does not exist: create it first",
    errno.ENOTDIR: "the directory does not exist: create it first",
}
"""Error number of a failed bind -> reason and fix."""

_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
"""Errors that go away when the network comes up."""

_FORM: Final = "write tcp://HOST:PORT or ipc:///PATH"


class PathClaim:
    """An exclusive claim to the path of a Unix socket, from construction to :meth:`release`.

    A second bind silently replaces the first socket and cuts off its subscribers. A lock file beside the socket
    prevents that; the kernel drops the lock when its holder dies.

    Args:
        path: Path of the socket.

    Raises:
        BlockingIOError: another process holds the claim.
        OSError: the lock file cannot be created.
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
            os.close(fd)  # the previous owner removed the file between our open and our lock
        self._fd = fd

    def _is_ours(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._lock_path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the socket file and the lock."""
        if self._path.is_socket():
            self._path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._fd)


def bind(socket: zmq.Socket[bytes], endpoint: str, setting: str) -> tuple[str, PathClaim | None]:
    """Bind a socket.

    Args:
        socket: The socket to bind.
        endpoint: ``tcp://HOST:PORT`` (port ``*``: any free one) or ``ipc:///PATH``.
        setting: Name of the setting for errors, for example ``publish.endpoints``.

    Returns:
        The bound address, and for ``ipc`` the claim to release after the socket is closed.

    Raises:
        ConfigError: the endpoint cannot be bound; the message gives reason and fix.
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
        raise bind_error(setting, endpoint, errno.EADDRINUSE) from None
    except (OSError, zmq.ZMQError) as error:
        if claim is not None:
            claim.release()
        raise bind_error(setting, endpoint, error.errno or 0, f"{error}; {_FORM}") from None
    return socket.get_string(zmq.LAST_ENDPOINT), claim


def remove_stale_socket(endpoint: str) -> None:
    """Remove the files that a killed process left at an ``ipc`` endpoint. A socket in use is left alone.

    Args:
        endpoint: Of any transport; only ``ipc`` leaves files.
    """
    path = Path(endpoint.removeprefix("ipc://"))
    with contextlib.suppress(OSError):  # in use, or in a directory that we may not read
        lock_alone = not path.exists() and path.with_name(path.name + ".lock").exists()
        if endpoint.startswith("ipc:///") and (path.is_socket() or lock_alone):
            PathClaim(path).release()


def _ipc_path(endpoint: str, setting: str) -> Path:
    path = endpoint.removeprefix("ipc://")
    if not path.startswith("/"):
        raise _path_error(setting, endpoint, "the path is not absolute: write ipc:///PATH, with three slashes")
    if len(os.fsencode(path)) > MAX_IPC_PATH:
        raise _path_error(
            setting, endpoint, f"the path is longer than {MAX_IPC_PATH} bytes, a socket's limit: shorten it"
        )
    if Path(path).exists() and not Path(path).is_socket():
        raise _path_error(
            setting, endpoint, "the path exists and is not a socket: choose another one"
        )  # bind would delete it
    return Path(path)


def bind_error(setting: str, address: str, number: int, otherwise: str = "") -> ConfigError:
    """Return the error for an address that cannot be bound.

    Args:
        setting: Name of the setting.
        address: The address.
        number: Error number of the failed bind.
        otherwise: Reason for error numbers that are not in the table.
    """
    error = AddressNotHereError if number in _NOT_HERE else ConfigError
    return error(f"{setting}: {address!r} cannot be bound: {_FIXES.get(number, otherwise)}")


def _path_error(setting: str, endpoint: str, reason: str) -> ConfigError:
    return ConfigError(f"{setting}: {endpoint!r} cannot be bound: {reason}")
