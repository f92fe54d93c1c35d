"""Sets a snapshot aside that ends the worker.

Memory that makes the tracker crash would do so in every later worker, and after every start of the daemon. So it is
noted on disk that a worker begins with a snapshot, until it has tracked a few frames with it. A snapshot with which two
workers have ended is not used again. That concerns all streams that had begun and not lasted: they are tracked in one
batch, and a crash does not say whose memory it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from streamseg.errors import StateError
from streamseg.state.folder import StateFolder
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

MAX_CRASHES: Final = 2
"""Fewer than the starts in a row that may fail before the supervisor gives up."""
LASTED_FRAMES: Final = 10
"""A worker that has tracked so many frames of a stream does not end because of its snapshot."""
_LASTED_S: Final = 60.0
"""Nor does one that lives for so long. A paused stream tracks no frames."""


class RestoreGuard:
    """Counts the workers that ended soon after they began with a snapshot. Used by the worker's thread.

    Args:
        folder: Has the snapshots.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._on_trial: dict[str, float] = {}

    def begin(self, stream: str) -> str:
        """Note that a stream's snapshot is about to be used.

        Returns:
            Why it must not be used, after it was set aside; empty if it may be.
        """
        try:
            crashes = self._folder.count_restore(stream)
        except StateError as error:
            log.error("%s: a snapshot that ends the worker would not be noticed", error)
            return ""
        if crashes < MAX_CRASHES:
            self._on_trial[stream] = time.monotonic()
            return ""
        where = self._folder.set_aside(stream)
        return f"the worker ended {crashes} times soon after it had used the snapshot of its memory, now {where.name}"

    def check(self, streams: Mapping[str, TrackedStream]) -> None:
        """Stop counting for the streams that go on well."""
        for stream, began in tuple(self._on_trial.items()):
            if streams[stream].tracked >= LASTED_FRAMES or time.monotonic() - began > _LASTED_S:
                self._end_trial(stream)

    def forget(self, stream: str) -> None:
        """Stop counting for a stream that was closed; remove its snapshot that was set aside."""
        self._end_trial(stream)
        self._folder.remove_aside(stream)

    def close(self) -> None:
        """Stop counting: the worker ends as it should."""
        for stream in tuple(self._on_trial):
            self._end_trial(stream)

    def _end_trial(self, stream: str) -> None:
        self._on_trial.pop(stream, None)
        self._folder.end_restore(stream)
