"""The folder of the clips: names, deletion of old clips, disk space."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamseg.common.clip_names import CLIP_NAME, SUFFIX, stem_of
from streamseg.common.video_writer import PART_SUFFIX, part_of
from streamseg.config.schema import ClipsConfig
from streamseg.errors import RecordError
from streamseg.record.folder import RecordingLock

log = logging.getLogger(__name__)

_PART: Final = re.compile(rf"{CLIP_NAME.pattern}\.\d+{re.escape(PART_SUFFIX)}", re.ASCII)
_GB: Final = 10**9
_MB: Final = 10**6


class ClipFolder:
    """A folder that one recorder writes clips to. Removes partial files of a killed recorder.

    Only files with the names of clips are counted and deleted: the folder may hold other videos.

    Args:
        clips: Settings.
        keep_free_mb: Nothing is written when the disk has less space left.

    Raises:
        RecordError: The folder cannot be used.
    """

    def __init__(self, clips: ClipsConfig, keep_free_mb: int) -> None:
        assert clips.path is not None
        self._folder = Path(clips.path)
        self._clips = clips
        self._keep_free_mb = keep_free_mb
        self._lock = RecordingLock(self._folder)
        try:
            for part in self._named(_PART):
                part.unlink(missing_ok=True)
        except OSError as error:
            self._lock.release()
            raise RecordError(f"{self._folder}: {error.strerror}") from None

    def next_path(self, stream: str, kind: str) -> Path:
        """Return the path of a new clip, after deleting clips that are too old or too many.

        Raises:
            RecordError: The disk is nearly full, or the folder is gone.
        """
        try:
            self._delete_old()
        except OSError as error:
            raise RecordError(f"{self._folder}: {error.strerror}") from None
        self.check_room()
        name = stem_of(stream, kind)
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        paths = (self._folder / f"{each}{SUFFIX}" for each in names)
        return next(path for path in paths if not (path.exists() or part_of(path).exists()))

    def check_room(self) -> None:
        """Check that the disk is not nearly full.

        Raises:
            RecordError: It is, or the folder is gone.
        """
        try:
            free_mb = shutil.disk_usage(self._folder).free / _MB
        except OSError as error:
            raise RecordError(f"{self._folder}: {error.strerror}") from None
        if free_mb < self._keep_free_mb:
            raise RecordError(f"the disk has {free_mb:.0f} MB left, and {self._keep_free_mb} MB are kept free")

    def _named(self, pattern: re.Pattern[str]) -> Iterator[Path]:
        return (path for path in self._folder.iterdir() if pattern.fullmatch(path.name))

    def _delete_old(self) -> None:
        limits = self._clips
        found = []
        for path in self._named(CLIP_NAME):
            with contextlib.suppress(FileNotFoundError):  # deleted by the user meanwhile
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for written_s, size, path in sorted(found):
            too_many = limits.max_gb is not None and total > limits.max_gb * _GB
            too_old = limits.max_hours is not None and time.time() - written_s > limits.max_hours * 3600
            if not (too_many or too_old):
                return
            path.unlink(missing_ok=True)
            total -= size
            log.info("deleted %s", path)

    def close(self) -> None:
        """Let another recorder write there."""
        self._lock.release()
