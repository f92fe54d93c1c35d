"""Caches converted networks on disk: one folder per model, size, precision and version, at most 1 GB in all.

A folder is named after everything that the networks depend on, including weights. It holds OpenVINO's files and their
measurements. OpenVINO parses the files and torch loads nothing from here, but a changed file would still change the
masks, so only this user may be able to write there.

Unfinished networks are in a :class:`LockedFolder`, which the next process that opens the cache deletes if its owner has
ended.

Ours because OpenVINO's own cache (``CACHE_DIR``) does not cover the conversion, which takes the most time.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from streamseg.common.locked_folder import LockedFolder, remove_leftovers
from streamseg.paths import cache_directory, make_private_folder

log = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 30

_PARTIAL: Final = ".streamseg-making-"


class NetworkCache:
    """The folders of converted networks.

    Args:
        folder: Parent of all; None keeps nothing for the next start.
        max_bytes: Maximum total size.
    """

    def __init__(self, folder: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        remove_leftovers(self._parent, _PARTIAL)

    @classmethod
    def of_user(cls) -> NetworkCache:
        """Return the cache in this user's cache directory; it keeps nothing if others can write there."""
        try:
            folder = cache_directory() / "openvino"
            make_private_folder(folder)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{folder} is not writable")
        except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
            log.warning("converted networks are not kept for the next start: %s", error)
            return cls(None)
        return cls(folder)

    def find(self, name: str) -> Path | None:
        """Return the folder of an earlier process, and mark it as recently used; None if there is none."""
        if self._folder is None or not (found := self._folder / name).is_dir():
            return None
        with suppress(OSError):
            os.utime(found)
        return found

    @property
    def _parent(self) -> Path:
        """Folder for unfinished networks."""
        return self._folder if self._folder is not None else Path(tempfile.gettempdir())

    @contextmanager
    def making(self) -> Iterator[Path]:
        """Return an empty folder for new networks. It is deleted at the end unless :meth:`keep` moved it."""
        folder = LockedFolder(self._parent, _PARTIAL)
        try:
            yield folder.path
        finally:
            folder.remove()

    def keep(self, made: Path, name: str) -> Path:
        """Keep a finished folder under its name, and delete the least recently used ones beyond the limit.

        Returns:
            Its new path; ``made`` if it cannot be kept.
        """
        if self._folder is None:
            return made
        size = _bytes(made)
        if size > self._max_bytes:
            log.warning(
                "converted networks of %.0f MB are not kept for the next start: the cache holds %.0f MB",
                size / 1e6,
                self._max_bytes / 1e6,
            )
            return made
        try:
            self._make_room(size, made)
            made.rename(self._folder / name)
        except OSError as error:
            if (found := self.find(name)) is not None:  # another daemon has just made the same
                return found
            log.warning("converted networks are not kept for the next start: %s", error)
            return made
        return self._folder / name

    def discard(self, name: str) -> None:
        """Delete a folder whose networks do not work."""
        if self._folder is not None:
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def _make_room(self, size: int, made: Path) -> None:
        """Delete folders until there is room. Networks in use stay readable: their files are mapped.

        Unfinished folders of other processes count, and are not deleted.
        """
        assert self._folder is not None
        remove_leftovers(self._folder, _PARTIAL)
        others = [entry for entry in self._folder.iterdir() if entry != made]
        finished = [entry for entry in others if not entry.name.startswith(_PARTIAL)]
        room = self._max_bytes - size - sum(_bytes(entry) for entry in others if entry not in finished)
        for entry in sorted(finished, key=lambda entry: entry.stat().st_mtime, reverse=True):
            room -= _bytes(entry)
            if room < 0:
                shutil.rmtree(entry, ignore_errors=True)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
