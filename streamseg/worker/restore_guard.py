"""Sets aside a snapshot that crashes the worker.

Memory that crashes the tracker would crash every later worker, and every later run of the daemon. So a worker writes a
mark to disk when it loads a snapshot, and removes it after it has tracked a few frames.

Streams are tracked in one batch, and a crash does not show whose memory caused it. The worker after a crash therefore
tracks each marked stream by itself, and records on disk which one it is tracking. A snapshot that two workers have
loaded, and that the second was using when it crashed, is set aside. The other streams keep theirs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeVar

from streamseg.errors import StateError
from streamseg.state.folder import StateFolder
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CRASHES: Final = 2
"""Must be lower than the number of failed starts in a row after which the supervisor gives up."""
MAX_UNEXPLAINED: Final = 3
"""After this many crashes while no single snapshot was in use, all loaded ones are set aside."""
LASTED_FRAMES: Final = 10
"""After this many tracked frames, a crash is not blamed on the stream's snapshot."""
_LASTED_S: Final = 60.0
"""Nor after this time: a paused stream tracks no frames."""


class RestoreGuard:
    """Counts the workers that crashed soon after they loaded a snapshot. Used by the worker's thread.

    Args:
        folder: Has the snapshots.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._on_trial: dict[str, float] = {}
        self._suspects: set[str] = set()
        self._blamed = folder.take_restoring()

    def begin(self, stream: str) -> str:
        """Note that a stream's snapshot is about to be used. Call :meth:`opened` afterwards.

        Returns:
            Why it was set aside and must not be used; empty if it may be.
        """
        explained = self._blamed not in ("", stream)
        try:
            crashes = self._folder.count_restore(stream, 0 if explained else 1)
            blamed = stream == self._blamed and crashes >= MAX_CRASHES
            if not blamed and (explained or crashes < MAX_UNEXPLAINED):
                self._folder.write_restoring(stream)
                self._on_trial[stream] = time.monotonic()
                if crashes:
                    self._suspects.add(stream)
                return ""
        except StateError as error:
            log.error("%s: a snapshot that crashes the worker would not be detected", error)
            return ""
        where = self._folder.set_aside(stream)
        return f"the worker ended {crashes} times soon after it had used the snapshot of its memory, now {where.name}"

    def opened(self) -> None:
        """Note that the worker has survived the opening of a stream."""
        self._folder.take_restoring()

    def parts(self, batch: Mapping[str, T]) -> Iterator[dict[str, T]]:
        """Split a batch: streams that may have ended an earlier worker are tracked by themselves.

        Each such stream is recorded on disk until the next part is requested.
        """
        together = {stream: one for stream, one in batch.items() if stream not in self._suspects}
        if together:
            yield together
        for stream in [stream for stream in batch if stream in self._suspects]:
            with suppress(StateError):  # begin() has said so
                self._folder.write_restoring(stream)
            yield {stream: batch[stream]}
            self._folder.take_restoring()

    def check(self, streams: Mapping[str, TrackedStream]) -> None:
        """Stop counting for the streams that are past the danger."""
        for stream, began in tuple(self._on_trial.items()):
            if streams[stream].tracked >= LASTED_FRAMES or time.monotonic() - began > _LASTED_S:
                self._end_trial(stream)

    def forget(self, stream: str) -> None:
        """Stop counting for a closed stream; remove its snapshot if it was set aside."""
        self._end_trial(stream)
        self._folder.remove_aside(stream)

    def close(self) -> None:
        """Stop counting: the worker exits normally."""
        self._folder.take_restoring()
        for stream in tuple(self._on_trial):
            self._end_trial(stream)

    def _end_trial(self, stream: str) -> None:
        self._on_trial.pop(stream, None)
        self._suspects.discard(stream)
        self._folder.end_restore(stream)
