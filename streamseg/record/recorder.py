"""Writes messages to a recording: begins segments, deletes old ones, stops before the disk is full."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamseg.config.schema import RecordConfig
from streamseg.errors import RecordError
from streamseg.record.folder import RecordingLock, next_segment, segments
from streamseg.record.segment import Recorded, SegmentWriter

log = logging.getLogger(__name__)

_CHECK_DISK_S: Final = 1.0
_MB: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class RecordLimits:
    """When to begin a new segment, and what to keep.

    Attributes:
        segment_bytes: Largest segment.
        segment_s: Longest segment.
        max_bytes: Maximum size of the recording; the oldest segments are deleted; None: no limit.
        max_age_s: Segments whose last message is older are deleted; None: no limit.
        keep_free_bytes: Recording stops when the disk has less space left.
    """

    segment_bytes: int
    segment_s: float
    max_bytes: int | None
    max_age_s: float | None
    keep_free_bytes: int

    @classmethod
    def of(cls, record: RecordConfig) -> RecordLimits:
        """Return the configured limits."""
        return cls(
            segment_bytes=record.segment_mb * _MB,
            segment_s=record.segment_minutes * 60,
            max_bytes=None if record.max_gb is None else int(record.max_gb * 1000 * _MB),
            max_age_s=None if record.max_hours is None else record.max_hours * 3600,
            keep_free_bytes=record.keep_free_mb * _MB,
        )


class Recorder:
    """Appends messages to a recording.

    Args:
        folder: The recording; created if it does not exist. Existing segments are kept.
        limits: Sizes and times.
        now_s: The monotonic clock.

    Attributes:
        messages: Messages written.

    Raises:
        RecordError: The folder cannot be used, or another recorder writes there.
    """

    def __init__(self, folder: Path, limits: RecordLimits, now_s: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._limits = limits
        self._now_s = now_s
        self._lock: RecordingLock | None = RecordingLock(folder)
        self._segment: SegmentWriter | None = None
        self._segment_began_s = self._checked_s = -float("inf")
        self.messages = 0

    def write(self, parts: Sequence[bytes], t_received_ns: int) -> None:
        """Append a message.

        Args:
            parts: All of its parts, topic first.
            t_received_ns: Unix epoch.

        Raises:
            RecordError: The disk is full or broken. Everything written before is readable.
        """
        try:
            self._check_disk()
            segment = self._current()
            segment.write(Recorded(parts[0], tuple(parts[1:]), t_received_ns), self.messages & 0xFFFFFFFF)
        except OSError as error:
            raise RecordError(f"recording to {self._folder} stopped: {error.strerror}") from None
        self.messages += 1

    def _check_disk(self) -> None:
        now_s = self._now_s()
        if now_s - self._checked_s < _CHECK_DISK_S:
            return
        self._checked_s = now_s
        free = shutil.disk_usage(self._folder).free
        if free < self._limits.keep_free_bytes:
            raise RecordError(
                f"recording to {self._folder} stopped: the disk has {free / 1e6:.0f} MB left, and "
                f"{self._limits.keep_free_bytes / 1e6:.0f} MB are kept free"
            )

    def _current(self) -> SegmentWriter:
        now_s = self._now_s()
        segment = self._segment
        if segment is not None and (
            segment.size >= self._limits.segment_bytes or now_s - self._segment_began_s >= self._limits.segment_s
        ):
            segment.close()
            segment = None
            self._segment = None
        if segment is None:
            self._delete_old()
            segment = SegmentWriter(next_segment(self._folder))
            self._segment, self._segment_began_s = segment, now_s
            log.info("recording to %s", segment.path)
        return segment

    def _delete_old(self) -> None:
        """Delete the oldest segments beyond the limits, with room for a new one. No segment is open now."""
        limits = self._limits
        if limits.max_bytes is None and limits.max_age_s is None:
            return
        found = []
        for path in segments(self._folder):
            with contextlib.suppress(FileNotFoundError):  # deleted by the user meanwhile
                found.append((path, path.stat()))
        total = sum(stat.st_size for _, stat in found) + limits.segment_bytes
        for path, stat in found:
            too_large = limits.max_bytes is not None and total > limits.max_bytes
            too_old = limits.max_age_s is not None and time.time() - stat.st_mtime > limits.max_age_s
            if not (too_large or too_old):
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
            log.info("deleted %s", path)

    def close(self) -> None:
        """Finish the segment. Safe to call twice."""
        if self._segment is not None:
            with contextlib.suppress(OSError):
                self._segment.close()
            self._segment = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
