"""The daemon's streams at runtime: their rings and capture processes, opened, changed and closed.

Running processes learn of a change by a message, later ones by their arguments.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from streamseg.config.diff import StreamDifference
from streamseg.config.schema import StreamConfig
from streamseg.daemon.announcer import Announcer
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import (
    CONTROL,
    PUBLISHER,
    WORKER,
    ProcessTable,
    RunningStream,
    capture_name,
    is_prompter,
    prompter_name,
)
from streamseg.ipc.saved_prompts import SavedStream, configured
from streamseg.ipc.supervisor_messages import ChangeStream, CloseStream, OpenStream, PromptsSaved
from streamseg.protocol.published import EventKind
from streamseg.ring.frame_ring import FrameRing, Policy, RingCounters
from streamseg.ring.layout import PROMPTER_ROLES
from streamseg.sources.address import describe, shown_address

_SLOTS: Final = 6
"""Ring slots: one is written, one waits, one is tracked, two are shared with the publisher, and one is spare."""
_STOP_S: Final = 2.0
"""Time for the capture process of a removed stream to stop by itself."""
_MAX_COUNTERS: Final = 256
_MAX_REMOVED: Final = 1024
"""Removed streams whose counters are kept, in case they are added again."""
_MAX_STOPPING: Final = 8
_MAX_STARTING: Final = 4
"""Capture processes that start at a time. More would only slow each other down until their timeouts."""


class RemovedIds:
    """Where the ids of removed streams continue if they are added again. Bounded.

    When the oldest entry is dropped, all unknown streams start after its ids, so that no id is assigned twice.
    """

    def __init__(self) -> None:
        self._next_ids: dict[str, int] = {}
        self._start = 1

    def note(self, stream: str, next_id: int) -> None:
        """Note where the ids of a removed stream continue."""
        self._next_ids[stream] = max(next_id, self._next_ids.pop(stream, 1))
        if len(self._next_ids) > _MAX_REMOVED:
            self._start = max(self._start, self._next_ids.pop(next(iter(self._next_ids))))

    def find(self, stream: str) -> int:
        """Return where the ids of a stream continue."""
        return self._next_ids.get(stream, self._start)


class StreamSet:
    """All streams. Used by the supervisor's thread.

    Args:
        table: Builds the entries of the processes.
        children: All processes by name; capture processes and prompters are added and removed here.
        announcer: Publishes events.

    Attributes:
        running: Stream id -> stream.
        changed: Whether streams or objects have changed; reset by the owner.
    """

    def __init__(self, table: ProcessTable, children: dict[str, Child], announcer: Announcer) -> None:
        self._table = table
        self._children = children
        self._announcer = announcer
        self.running: dict[str, RunningStream] = {}
        self.changed = True
        self._capturing = False
        self._counters: dict[str, RingCounters] = {}
        self._next_ids = RemovedIds()
        self._stopping: list[tuple[Child, float]] = []

    def make_ring(self, settings: StreamConfig) -> FrameRing:
        """Create a ring for a stream. The only step of adding a stream that can fail, so it comes first.

        Raises:
            OSError: the process is out of descriptors or memory.
        """
        policy = _policy(settings)
        # A dead prompter holds its slot until the next one starts. This must not cost the camera any frames.
        return FrameRing(policy=policy, slots=_SLOTS + (len(PROMPTER_ROLES) if policy == "newest" else 0))

    def needs_ring(self, stream: str, settings: StreamConfig) -> bool:
        """Whether these settings of a stream need a new ring."""
        return stream not in self.running or self.running[stream].ring.shape.policy != _policy(settings)

    def add(
        self,
        stream: str,
        settings: StreamConfig,
        ring: FrameRing,
        *,
        from_file: bool,
        saved: SavedStream | None = None,
    ) -> None:
        """Add a stream: open it in publisher and worker. Its capture process starts with :meth:`start_due`.

        Args:
            stream: Its id.
            settings: Its settings.
            ring: From :meth:`make_ring`.
            from_file: Whether it comes from the configuration file.
            saved: Its objects from an earlier run of the daemon.
        """
        self.changed = True
        if (counters := self._counters.pop(stream, None)) is not None:
            ring.continue_from(counters)
        saved = self._continue_ids(stream, settings) if saved is None else saved
        running = RunningStream(settings, ring, saved=saved, from_file=from_file)
        self.running[stream] = running
        message = OpenStream(stream, settings, shown_address(settings.source), ring.shape, saved=running.saved)
        # The publisher first: it must know the stream before the worker sends anything about it.
        for name in (PUBLISHER, WORKER):
            if name in self._children:
                self._children[name].send(message, ring.fds)
        capture = Child(self._table.capture(stream, running))
        self._children[capture.name] = capture
        self._add_prompters(stream)

    def _add_prompters(self, stream: str) -> None:
        """Add a process for each prompter that has none. They start with :meth:`start_due`."""
        running = self.running[stream]
        for name in running.settings.prompters:
            if name not in running.roles:
                running.roles[name] = next(role for role in PROMPTER_ROLES if role not in running.roles.values())
                child = Child(self._table.prompter(stream, running, name))
                self._children[child.name] = child

    def _remove_prompter(self, stream: str, name: str) -> None:
        """Kill a prompter: it has nothing to save, and its role on the ring is free at once."""
        del self.running[stream].roles[name]
        child = self._children.pop(prompter_name(stream, name))
        child.retire()
        child.kill()
        self._stopping.append((child, time.monotonic()))

    def _continue_ids(self, stream: str, settings: StreamConfig) -> SavedStream | None:
        """Return the start of a stream that existed before: its ids are not assigned again."""
        next_id, saved = self._next_ids.find(stream), configured(settings.prompts)
        return None if next_id <= saved.next_id else replace(saved, next_id=next_id)

    def enable_captures(self) -> None:
        """Let :meth:`start_due` start capture processes."""
        self._capturing = True

    def start_due(self) -> None:
        """Start capture processes, a few at a time, and prompters."""
        if not self._capturing:
            return
        for child in self._children.values():
            if is_prompter(child.name) and (child.state == "waiting" or child.restart_due()):
                child.start()
        captures = [self._children[capture_name(stream)] for stream in self.running]
        places = _MAX_STARTING - sum(child.state == "starting" for child in captures)
        for child in captures:
            if places > 0 and (child.state == "waiting" or child.restart_due() or child.planned_restart_due()):
                child.start()
                places -= 1

    def remove(self, stream: str) -> None:
        """Remove a stream. Its capture process stops in the background (:meth:`reap`)."""
        self.changed = True
        for name in list(self.running[stream].roles):
            self._remove_prompter(stream, name)
        running = self.running.pop(stream)
        capture = self._children.pop(capture_name(stream))
        capture.retire()
        capture.request_stop()
        self._stopping.append((capture, time.monotonic() + _STOP_S))
        for name in (WORKER, PUBLISHER):
            self._children[name].send(CloseStream(stream))
        saved = running.saved or configured(running.settings.prompts)
        self._next_ids.note(stream, saved.next_id)
        self._counters[stream] = running.ring.counters()
        if len(self._counters) > _MAX_COUNTERS:
            del self._counters[next(iter(self._counters))]
        running.ring.close()

    def change(
        self,
        stream: str,
        settings: StreamConfig,
        what: StreamDifference,
        ring: FrameRing | None,
        *,
        from_file: bool,
    ) -> None:
        """Change a stream's settings. Its source is reopened only if the difference concerns it.

        Args:
            stream: Id of the stream.
            settings: The new settings.
            what: How they differ from the old ones.
            ring: A new ring if :meth:`needs_ring`.
            from_file: Whether the stream is in the configuration file.
        """
        if ring is not None:
            self.remove(stream)
            self.add(stream, settings, ring, from_file=from_file)
            return
        self.changed = True
        running = self.running[stream]
        before = running.settings.prompters
        running.settings, running.from_file = settings, from_file
        for name in [name for name in running.roles if before[name] != settings.prompters.get(name)]:
            self._remove_prompter(stream, name)
        if running.saved is not None:  # the worker will report the same, unless it dies first
            running.saved = running.saved.changed(what.removed, what.prompts)
        self._children[WORKER].send(ChangeStream(stream, settings, what.removed, what.prompts))
        self._add_prompters(stream)
        capture = self._children[capture_name(stream)]
        capture.replace_entry(self._table.capture(stream, running))
        if what.source and capture.state != "waiting":
            capture.stop_for_restart()

    def save(self, message: PromptsSaved) -> None:
        """Save the worker's objects for the next worker."""
        self.changed = True
        if message.stream in self.running:
            self.running[message.stream].saved = message.saved
        else:  # sent before the worker knew that the stream was removed
            self._next_ids.note(message.stream, message.saved.next_id)

    def announce(self, kind: EventKind, stream: str) -> None:
        """Tell subscribers and the control process that a stream was added or removed."""
        self._announcer.stream_changed(kind, stream)
        self._children[CONTROL].send(self._table.info(self.running))

    def reap(self) -> None:
        """Release the capture processes of removed streams; kill those that do not stop in time."""
        now = time.monotonic()
        too_many = len(self._stopping) - _MAX_STOPPING
        for place, (child, deadline) in enumerate(self._stopping):
            if child.alive() and (now > deadline or place < too_many):
                child.kill()
            child.reap()
        self._stopping = [(child, deadline) for child, deadline in self._stopping if child.alive()]

    def stopping(self) -> list[Child]:
        """Return the capture processes of removed streams that are still running."""
        return [child for child, _ in self._stopping]

    def drained(self) -> bool:
        """Whether there are streams, and every source has ended with all of its frames tracked."""
        if not self.running or any(self._children[capture_name(stream)].state != "ended" for stream in self.running):
            return False
        counters = [running.ring.counters() for running in self.running.values()]
        return all(count.pending == 0 and count.held == 0 for count in counters)

    def close(self) -> None:
        """Close all rings."""
        for running in self.running.values():
            running.ring.close()


def _policy(settings: StreamConfig) -> Policy:
    """Return the ring's policy. A finite source waits for the worker, so that no frame is lost."""
    # None: the capture process decides when it has opened the source (RingWriter.use_policy).
    drops = settings.pace == "camera" or describe(settings.source).live is not False
    return "newest" if drops else "every"
