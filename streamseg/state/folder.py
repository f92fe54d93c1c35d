"""A private folder of state files: written whole or not at all, readable by this user only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from streamseg.errors import StateError
from streamseg.paths import is_private, make_private_folder

_STREAM_SUFFIX: Final = ".stream"
_RESTORES_SUFFIX: Final = ".restores"
_ASIDE_SUFFIX: Final = ".crashes"
_MAX_RESTORES_BYTES: Final = 16
_RESTORING: Final = "restoring"
_MAX_NAME_BYTES: Final = 256


class StateFolder:
    """Files of one daemon. Stream names are safe as file names.

    Args:
        path: The folder. It is created with mode 0700 when something is written.
        durable: Whether writes are synced to disk before they replace the previous file.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._durable = durable

    def write_stream(self, stream: str, data: bytes) -> None:
        """Replace a stream's snapshot.

        Raises:
            StateError: The folder belongs to another user, or cannot be written.
        """
        self.write(stream + _STREAM_SUFFIX, data)

    def read_stream(self, stream: str, max_bytes: int) -> bytes | None:
        """Return a stream's snapshot; None if there is none.

        Raises:
            StateError: It belongs to another user, is too large, or cannot be read.
        """
        return self.read(stream + _STREAM_SUFFIX, max_bytes)

    def remove_stream(self, stream: str) -> None:
        """Remove a stream's snapshot, if there is one."""
        self._remove(stream + _STREAM_SUFFIX)

    def count_restore(self, stream: str, more: int = 1) -> int:
        """Count a worker that begins with a stream's snapshot, until :meth:`end_restore`.

        Args:
            stream: Its name.
            more: 0 to leave the count unchanged.

        Returns:
            The count before.

        Raises:
            StateError: It cannot be read or written.
        """
        name = stream + _RESTORES_SUFFIX
        text = self.read(name, _MAX_RESTORES_BYTES) or b"0"
        before = int(text) if text.isdigit() else 0
        self.write(name, str(before + more).encode())
        return before

    def end_restore(self, stream: str) -> None:
        """Reset the count of workers that began with a stream's snapshot."""
        self._remove(stream + _RESTORES_SUFFIX)

    def write_restoring(self, stream: str) -> None:
        """Record which stream's snapshot is in use now, until :meth:`take_restoring`.

        Raises:
            StateError: It cannot be written.
        """
        self.write(_RESTORING, stream.encode())

    def take_restoring(self) -> str:
        """Return which stream's snapshot was in use, and clear the record; empty if none was."""
        try:
            return (self.read(_RESTORING, _MAX_NAME_BYTES) or b"").decode(errors="replace")
        except StateError:
            return ""
        finally:
            self._remove(_RESTORING)

    def set_aside(self, stream: str) -> Path:
        """Move a stream's snapshot to where it is not read again; return its new path."""
        self.end_restore(stream)
        aside = self.path / (stream + _ASIDE_SUFFIX)
        with contextlib.suppress(OSError):
            (self.path / (stream + _STREAM_SUFFIX)).replace(aside)
        return aside

    def remove_aside(self, stream: str) -> None:
        """Remove a stream's set-aside snapshot, if there is one."""
        self._remove(stream + _ASIDE_SUFFIX)

    def streams(self) -> dict[str, os.stat_result]:
        """Return the streams that have a snapshot, with the state of its file."""
        found: dict[str, os.stat_result] = {}
        with contextlib.suppress(FileNotFoundError):
            for file in sorted(self.path.glob("*" + _STREAM_SUFFIX)):
                with contextlib.suppress(OSError):
                    found[file.name.removesuffix(_STREAM_SUFFIX)] = file.stat()
        return found

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def write(self, name: str, data: bytes) -> None:
        """Replace a file.

        Raises:
            StateError: The folder belongs to another user, or cannot be written.
        """
        try:
            make_private_folder(self.path)
            temporary = self.path / f".{name}.{secrets.token_hex(4)}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    if self._durable:
                        file.flush()
                        os.fdatasync(fd)
                temporary.replace(self.path / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StateError(f"{self.path / name} cannot be written: {error.strerror or error}") from None

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Return a file's bytes; None if there is no such file.

        Raises:
            StateError: It belongs to another user, is too large, or cannot be read.
        """
        try:
            with os.fdopen(os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                found = os.fstat(file.fileno())
                if not is_private(found):
                    raise StateError(f"{self.path / name} belongs to another user, or others may write to it")
                data = file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.path / name} cannot be read: {error.strerror or error}") from None
        if len(data) > max_bytes:
            raise StateError(f"{self.path / name} has more than {max_bytes} bytes")
        return data

    def clear(self) -> int:
        """Remove all files, including partial files of a killed process; return how many."""
        removed = 0
        with contextlib.suppress(FileNotFoundError):
            for file in self.path.iterdir():
                if file.is_file() or file.is_symlink():
                    file.unlink(missing_ok=True)
                    removed += 1
            with contextlib.suppress(OSError):  # it holds other files
                self.path.rmdir()
        return removed

    def remove_leftovers(self, *, of_streams: bool = False) -> None:
        """Remove partial files of a killed process. No other process may be writing such files.

        Args:
            of_streams: Remove only partial snapshots: the daemon may be writing its record.
        """
        for file in self.path.glob(f".*{_STREAM_SUFFIX if of_streams else ''}.????????"):
            with contextlib.suppress(OSError):
                file.unlink()
