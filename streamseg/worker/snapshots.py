"""Takes snapshots of the streams' objects: after each prompt, and every few seconds.

Memory is copied between two frames; a thread encodes and writes it. Periodic copies are rare enough to cost less than
one percent of the time. After a prompt, a copy is taken at any cost, and the request is answered when it is written:
otherwise, on a busy machine with slow copies, a new object would be in no snapshot for minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import SavedPrompt, SavedStream
from streamseg.state.daemon_record import source_digest
from streamseg.state.folder import StateFolder
from streamseg.state.stream_snapshot import StreamSnapshot, encode_snapshot
from streamseg.tracker.types import StreamMemory, Tracker
from streamseg.worker.spec import SnapshotSpec
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

MAX_OBJECT_BYTES: Final = 8 * 1024 * 1024
MAX_TOTAL_BYTES: Final = 512 * 1024 * 1024
_MAX_SHARE: Final = 0.01
"""Share of the worker's time."""
_CLOSE_S: Final = 2.0
_WRITE_S: Final = 2.0
"""How long the answer to a prompt waits for its snapshot."""
_PROMPT_LEAD_S: Final = 60.0
"""A prompted stream goes ahead of streams that have waited for less than this."""


class Snapshots:
    """Takes the snapshots of all streams. Used by the worker's thread. A failed snapshot affects nothing else.

    Args:
        spec: Where and how often to save.
        tracker: Holds the memory.

    Attributes:
        failed: Stream id -> number of snapshots that could not be taken or written.
    """

    def __init__(self, spec: SnapshotSpec, tracker: Tracker) -> None:
        self.failed: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._spec = spec
        self._tracker = tracker
        self._writer = _Writer(spec.folder, self.failed)
        self._due_at: dict[str, float] = {}
        self._frames: dict[str, int] = {}
        self._covered: dict[str, Mapping[int, tuple[SavedPrompt, ...]]] = {}
        self._not_before = 0.0
        self._bytes: dict[str, int] = {}
        self._memory_fits = True

    def changed(self, stream: str) -> None:
        """Note that a prompt or an object of a stream has changed: its next snapshot is due."""
        self._due_at[stream] = time.monotonic() - _PROMPT_LEAD_S
        self._frames.pop(stream, None)

    def take_due(self, streams: Mapping[str, TrackedStream]) -> None:
        """Take the snapshot of the stream that has waited longest, if one is due; prompted ones first."""
        now = time.monotonic()
        for name in streams:
            self._due_at.setdefault(name, now)
        for name in sorted(streams, key=self._due_at.__getitem__):
            tracked = streams[name]
            if tracked.latest is None:
                continue
            if not self._is_prompted(name, tracked):
                if now < max(self._due_at[name], self._not_before):
                    continue
                if self._frames.get(name) == tracked.latest.frame_id:  # paused, static, or without a picture
                    self._due_at[name] = now + self._spec.every_s
                    continue
            self._take_timed(name, tracked)
            return

    def save_prompted(self, name: str, tracked: TrackedStream) -> None:
        """Take a stream's snapshot if prompts have changed its objects, and wait for up to 2 s until it is written."""
        if tracked.latest is not None and self._is_prompted(name, tracked):
            self._take_timed(name, tracked)
            self._writer.wait_written(_WRITE_S)

    def _is_prompted(self, name: str, tracked: TrackedStream) -> bool:
        """Return whether the tracker has an object or a prompt that the last snapshot lacks."""
        covered = self._covered.get(name, {})
        return any(covered.get(obj.obj_id) != obj.prompts for obj in tracked.objects.table.tracked)

    def _take_timed(self, name: str, tracked: TrackedStream) -> None:
        latest, began = tracked.latest, time.monotonic()
        assert latest is not None
        self._frames[name] = latest.frame_id
        self._covered[name] = {obj.obj_id: obj.prompts for obj in tracked.objects.table.tracked}
        self._take(name, tracked)
        taken = time.monotonic()
        self._due_at[name] = taken + self._spec.every_s
        self._not_before = taken + (taken - began) / _MAX_SHARE

    def take_all(self, streams: Mapping[str, TrackedStream]) -> None:
        """Take a last snapshot of every stream."""
        for name, tracked in streams.items():
            if tracked.latest is not None:
                self._take(name, tracked)

    def forget(self, stream: str) -> None:
        """Remove the snapshot of a stream that was closed."""
        self._due_at.pop(stream, None)
        self._frames.pop(stream, None)
        self._covered.pop(stream, None)
        self._bytes.pop(stream, None)
        self._failing.discard(stream)
        self._writer.put(stream, None)

    def _take(self, name: str, tracked: TrackedStream) -> None:
        try:
            self._take_unguarded(name, tracked)
        except BaseException:
            self.failed[name] += 1
            if name not in self._failing:
                log.exception("stream %s: no snapshot: its objects would not survive a restart", name)
            self._failing.add(name)
        else:
            self._failing.discard(name)

    def _take_unguarded(self, name: str, tracked: TrackedStream) -> None:
        table, latest = tracked.objects.table, tracked.latest
        assert latest is not None
        if not table.objects:
            self._bytes.pop(name, None)
            self._writer.put(name, None)
            return
        memory = self._memory(name, len(table.tracked), tracked.objects.suspended)
        snapshot = StreamSnapshot(
            memory_format=self._tracker.memory_format,
            session=self._spec.session,
            source=source_digest(tracked.config.source),
            epoch=latest.epoch,
            frame_id=latest.frame_id,
            t_wall_ns=time.time_ns(),
            saved=SavedStream(tuple(table.objects.values()), table.next_id, tracked.paused),
            sightings=tracked.objects.states.sightings(tracked.objects.stream_time_ns),
            frame=memory.frame,
            memory=memory.objects,
            aside=memory.aside,
        )
        self._writer.put(name, snapshot)

    def _memory(self, name: str, tracked: int, suspended: tuple[int, ...]) -> StreamMemory:
        """Return a stream's memory, without objects if it is too large."""
        nothing = StreamMemory(-1, {})
        if not (tracked and self._memory_fits):
            return nothing
        memory = self._tracker.export_memory(name, suspended)
        sizes = [sum(array.nbytes for array in arrays.values()) for arrays in memory.objects.values()]
        if sizes and max(sizes) > MAX_OBJECT_BYTES:
            self._memory_fits = False
            log.warning(
                "the memory of an object takes %.0f MB, more than the %.0f MB that are saved: after a restart of the "
                "worker, objects are lost or prompted again, see on_discontinuity",
                max(sizes) / 1e6,
                MAX_OBJECT_BYTES / 1e6,
            )
            return nothing
        others = sum(count for stream, count in self._bytes.items() if stream != name)
        fits = others + sum(sizes) <= MAX_TOTAL_BYTES
        if not fits and self._bytes.get(name) != 0:
            log.warning("stream %s: its memory is not saved: that of all streams would exceed 512 MB", name)
        self._bytes[name] = sum(sizes) if fits else 0
        return memory if fits else nothing

    def close(self) -> None:
        """Stop the thread. Waits up to two seconds for queued snapshots to be written."""
        self._writer.close()


class _Writer:
    """A thread that writes the newest snapshot of each stream. Holds one per stream.

    Args:
        folder: Where to.
        failed: Counts the snapshots by stream that could not be written.
    """

    def __init__(self, folder: StateFolder, failed: Counter[str]) -> None:
        self._folder = folder
        self._failed = failed
        self._waiting: dict[str, StreamSnapshot | None] = {}
        self._changed = threading.Condition()
        self._closing = self._writing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        self._thread.start()

    def put(self, stream: str, snapshot: StreamSnapshot | None) -> None:
        """Replace a stream's waiting snapshot; None removes its snapshot from the folder."""
        with self._changed:
            self._waiting.pop(stream, None)
            self._waiting[stream] = snapshot
            self._changed.notify_all()

    def wait_written(self, timeout_s: float) -> None:
        """Wait until all queued snapshots are written, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout_s)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        self._folder.remove_leftovers(of_streams=True)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                stream = next(iter(self._waiting))
                snapshot = self._waiting.pop(stream)
                self._writing = True
            self._write(stream, snapshot)
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _write(self, stream: str, snapshot: StreamSnapshot | None) -> None:
        try:
            if snapshot is None:
                self._folder.remove_stream(stream)
            else:
                self._folder.write_stream(stream, encode_snapshot(snapshot))
            self._failing = False
        except StateError as error:
            self._failed[stream] += 1
            if not self._failing:
                log.error("%s: objects would not survive a restart", error)
            self._failing = True
        except BaseException:
            self._failed[stream] += 1
            log.exception("a snapshot of stream %s could not be written", stream)
