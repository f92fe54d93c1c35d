"""The folder of a daemon's state, and the lock on it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from streamseg.errors import StateError
from streamseg.paths import NAME_MAX, make_private_folder, shortened_name, state_directory

RECORD: Final = "daemon.json"
_LOCK: Final = "lock"


def state_folder(config: Path, configured: str | None) -> Path:
    """Return the folder of a configuration's state.

    Args:
        config: Path of the configuration file.
        configured: Setting ``state.path``.
    """
    file = config.absolute()
    if configured is not None:
        return file.parent / Path(configured).expanduser()
    digest = hashlib.blake2b(os.fsencode(file.resolve()), digest_size=4).hexdigest()
    return state_directory() / f"{shortened_name(file.stem, NAME_MAX - 1 - len(digest))}-{digest}"


class StateLock:
    """An exclusive lock on a folder, until :meth:`release` or the end of the process.

    Args:
        folder: The folder; it is created.

    Raises:
        StateError: Another daemon uses it, it cannot be created, or others may write to it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            make_private_folder(folder)
            self._fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"{folder} cannot be used: {error.strerror or error}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise StateError(f"{folder} is in use by another daemon with the same configuration") from None

    def release(self) -> None:
        """Release the folder."""
        os.close(self._fd)
