"""A recording: a folder of numbered segments, written by one recorder at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamseg.errors import RecordError
from streamseg.record.segment import SUFFIX, Recorded, read_segment

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"(\d{6,})-\d{8}T\d{6}Z\.mcap")


class RecordingLock:
    """Held by the recorder of a folder; the kernel releases it when the recorder dies.

    Args:
        folder: The recording; created for this user only if it does not exist.

    Raises:
        RecordError: another recorder writes there, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise RecordError(f"{folder}: {error.strerror}; give a folder that this user can write to") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise RecordError(f"{folder}: another recorder is writing there; give another folder") from None
        except OSError as error:
            log.warning("%s: its file system has no locks (%s): start only one recorder there", folder, error.strerror)

    def release(self) -> None:
        """Let another recorder write."""
        os.close(self._fd)


def segments(folder: Path) -> list[Path]:
    """Return the segments of a recording, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob(f"*{SUFFIX}") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def next_segment(folder: Path) -> Path:
    """Return the path of a new segment. It begins with a number, so that segments sort even if the clock is set."""
    existing = segments(folder)
    number = int(existing[-1].name.partition("-")[0]) + 1 if existing else 1
    return folder / f"{number:06}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{SUFFIX}"


def read_recording(path: Path) -> Iterator[Recorded]:
    """Yield the messages of a recording in order.

    Args:
        path: The folder, or one of its segments.

    Raises:
        RecordError: there is no recording.
    """
    files = [path] if path.is_file() else segments(path)
    if not files:
        raise RecordError(f"{path}: there is no recording: expected a folder with files like 000001-...{SUFFIX}")
    for file in files:
        yield from read_segment(file)
