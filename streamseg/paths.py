"""Where files and sockets are: the user's cache, the runtime directory and the default control socket.

Ours because ``platformdirs`` has no fallback for a runtime directory that is missing, belongs to another user, or is
too deep for the address of a socket.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from streamseg.protocol.topics import MAX_IPC_PATH

MAX_SOCKET_NAME: Final = 10
"""Longest name of a socket in a run's own directory, in bytes: see :func:`socket_endpoint`."""

NAME_MAX: Final = 255
"""Longest file name on Linux, in bytes. A name derived from a user's file name must leave room for its suffix."""

_MAX_ADDED: Final = len("/streamseg-demo-xxxxxxxx/") + MAX_SOCKET_NAME
"""Longest path that streamseg appends to a directory for sockets, in bytes."""


def shortened_name(name: str, most_bytes: int) -> str:
    """Return a file name cut to a number of bytes, without cutting a character."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


def cache_directory() -> Path:
    """Return ``streamseg`` in the user's cache directory; it may not exist yet.

    The cache is ``$XDG_CACHE_HOME``, or ``~/.cache`` if that is unset or not absolute, as its specification says.
    Everything in it can be downloaded or computed again: checkpoints, compiled code.
    """
    return xdg_directory("XDG_CACHE_HOME", ".cache") / "streamseg"


def state_directory() -> Path:
    """Return the directory for persistent state; it may not exist yet.

    That is ``$STATE_DIRECTORY``, which systemd sets for a service, else ``streamseg`` in ``$XDG_STATE_HOME`` or
    ``~/.local/state``.
    """
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given)
    return xdg_directory("XDG_STATE_HOME", ".local/state") / "streamseg"


def xdg_directory(variable: str, default: str) -> Path:
    """Return a base directory of the XDG specification.

    Args:
        variable: Environment variable with its path. A path that is not absolute is ignored.
        default: Its default path, in the home directory unless it is absolute.
    """
    path = os.environ.get(variable, "")
    return Path(path) if path.startswith("/") else Path.home() / default


def is_private(found: os.stat_result) -> bool:
    """Return whether a file or directory belongs to this user and only this user may write to it."""
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def make_private_folder(folder: Path) -> None:
    """Create a directory that only this user can read or write. Others must not be able to write to an existing one.

    Raises:
        PermissionError: It belongs to another user, or others may write to it.
        OSError: It cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder.stat()):
        raise PermissionError(f"{folder} belongs to another user, or others may write to it")


def runtime_parent() -> str | None:
    """Return XDG_RUNTIME_DIR if it is a writable directory, else None.

    A container or ``su`` often passes on a directory that does not exist or belongs to another user. A path that is
    too long for the address of a socket does not count either.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and _has_room(folder) and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    return None


def sockets_parent() -> str:
    """Return the directory in which a run creates its own directory for sockets.

    That is :func:`runtime_parent`, or the system's directory for temporary files.
    """
    return runtime_parent() or _temporary()


def socket_endpoint(folder: Path, name: str) -> str:
    """Return the address of a socket in a run's own directory.

    Args:
        folder: Directory, made in :func:`sockets_parent`.
        name: File name, at most :data:`MAX_SOCKET_NAME` bytes, for which :func:`sockets_parent` leaves room.

    Raises:
        ValueError: The name is too long.
    """
    if len(os.fsencode(name)) > MAX_SOCKET_NAME:
        raise ValueError(f"socket name {name!r} is longer than {MAX_SOCKET_NAME} bytes")
    return f"ipc://{folder / name}"


def default_control_endpoint() -> str:
    """Return the address of this user's daemon, the same for the daemon and for its clients.

    It is in XDG_RUNTIME_DIR, or in a directory of this user in the system's directory for temporary files.
    """
    parent = runtime_parent()
    path = Path(parent) / "streamseg-control" if parent else _own_folder() / "control"
    return f"ipc://{path}"


def make_default_folder() -> bool:
    """Create the directory of :func:`default_control_endpoint`, readable by this user only.

    Returns:
        False if the directory belongs to another user: no socket in it can be trusted.
    """
    if runtime_parent():
        return True
    _own_folder().mkdir(mode=0o700, exist_ok=True)
    return default_folder_is_ours()


def default_folder_is_ours() -> bool:
    """Return whether the directory of :func:`default_control_endpoint` belongs to this user or does not exist."""
    if runtime_parent():
        return True
    try:
        found = _own_folder().lstat()
    except FileNotFoundError:
        return True
    return is_private(found)


def _own_folder() -> Path:
    return Path(_temporary()) / f"streamseg-{os.geteuid()}"


def _temporary() -> str:
    folder = tempfile.gettempdir()
    return folder if _has_room(folder) else "/tmp"


def _has_room(folder: str) -> bool:
    return len(os.fsencode(folder)) + _MAX_ADDED <= MAX_IPC_PATH
