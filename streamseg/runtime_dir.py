"""Where the sockets of one run live, and the one that clients find by themselves."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from streamseg.private_file import is_private
from streamseg.topics import LONGEST_IPC_PATH

# What this package adds to such a folder, and some to spare: "/streamseg-demo-xxxxxxxx/masks" are 30.
_LONGEST_ADDED: Final = 32


def runtime_parent() -> str | None:
    """Folder for sockets of this run: XDG_RUNTIME_DIR if it is a writable directory, else None.

    A container or ``su`` often hands on a folder that is not there, or that belongs to another user. One whose path is
    so long that no socket fits into it is not taken either.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and _has_room(folder) and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    return None


def sockets_parent() -> str:
    """Folder in which a run makes one of its own for its sockets: :func:`runtime_parent`, or the system's default."""
    return runtime_parent() or _temporary()


def default_control_endpoint() -> str:
    """Return the address of this user's daemon, the same for the daemon and for its clients.

    It lies in XDG_RUNTIME_DIR, or in a folder of this user in the system's folder for temporary files.
    """
    parent = runtime_parent()
    path = Path(parent) / "streamseg-control" if parent else _own_folder() / "control"
    return f"ipc://{path}"


def make_default_folder() -> bool:
    """Make the folder of :func:`default_control_endpoint`, for this user alone.

    Returns:
        False if somebody else has made a folder of that name; nobody should talk through it.
    """
    if runtime_parent():
        return True
    _own_folder().mkdir(mode=0o700, exist_ok=True)
    return default_folder_is_ours()


def default_folder_is_ours() -> bool:
    """Whether the folder of :func:`default_control_endpoint` belongs to this user, or is not there."""
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
    return len(os.fsencode(folder)) + _LONGEST_ADDED <= LONGEST_IPC_PATH
