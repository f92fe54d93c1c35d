"""Where the sockets of one run live."""

from __future__ import annotations

import os
from pathlib import Path


def runtime_parent() -> str | None:
    """Folder for sockets of this run: XDG_RUNTIME_DIR if it is a writable directory, else None (the system's default).

    A container or ``su`` often hands on a folder that is not there, or that belongs to another user.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    return None
