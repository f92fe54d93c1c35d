"""Folders locked by a running process, which tells them from leftovers of killed processes.

The process holds a lock on its folder, which the kernel drops however the process ends. The next process removes
folders without a lock. Ours because packages for temporary folders remove only their own, and packages for locks
keep the lock file after the folder is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


class LockedFolder:
    """A new folder that only this user can read or write, locked until :meth:`remove` or the end of the process.

    Args:
        parent: An existing folder to make it in.
        prefix: Beginning of its name.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, parent: Path | str, prefix: str) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            try:
                self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:  # removed as a leftover before it was locked
                continue
            with contextlib.suppress(OSError):  # a file system without locks, where nothing counts as a leftover
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.is_dir():
                return
            os.close(self._lock)

    def remove(self) -> None:
        """Remove the folder, unless it was moved elsewhere, and drop the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_leftovers(parent: Path | str, prefix: str) -> list[Path]:
    """Remove the folders of this user whose process has ended.

    Args:
        parent: The folder that they were made in.
        prefix: Beginning of their names.

    Returns:
        The removed folders.
    """
    removed = []
    for folder in Path(parent).glob(f"{prefix}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # another user's, a link or a file
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
        except OSError:  # its process is running
            pass
        finally:
            os.close(lock)
    return removed


@contextlib.contextmanager
def locked_folder(parent: Path | str, prefix: str) -> Iterator[Path]:
    """Yield a new locked folder after removing leftovers of killed processes. It is removed at the end."""
    for leftover in remove_leftovers(parent, prefix):
        log.info("removed %s: the process that made it was killed", leftover)
    folder = LockedFolder(parent, prefix)
    try:
        yield folder.path
    finally:
        folder.remove()
