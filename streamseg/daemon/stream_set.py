"""The daemon's streams while it runs: their rings and capture processes, opened, changed and closed.

The worker and the publisher are told by orders; what is started later finds it in its arguments.
"""

from __future__ import annotations

import time
from typing import Final

from streamseg.common.redact import redact
from streamseg.config.diff import StreamDifference
from streamseg.config.schema import StreamConfig
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import CONTROL, PUBLISHER, WORKER, ProcessTable, RunningStream, capture_name
from streamseg.ipc.messages import StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_messages import ChangeStream, CloseStream, OpenStream, PromptsSaved
from streamseg.protocol.published import EventKind
from streamseg.protocol.topics import DAEMON
from streamseg.ring.frame_ring import FrameRing, Policy, RingCounters
from streamseg.sources.address import describe

_LEAVE_S: Final = 2.0
_MAX_PAST: Final = 256
_MAX_LEAVING: Final = 8


class StreamSet:
    """All streams. Used by the supervisor's thread.

    Args:
        table: Makes the entries of processes.
        children: All processes by name; those of capture are put in and taken out here.
        publisher_socket: To the publisher.

    Attributes:
        running: Id -> stream.
    """

    def __init__(self, table: ProcessTable, children: dict[str, Child], publisher_socket: PublisherSocket) -> None:
        self._table = table
        self._children = children
        self._publisher_socket = publisher_socket
        self.running: dict[str, RunningStream] = {}
        self._capturing = False
        self._past: dict[str, RingCounters] = {}
        self._leaving: list[tuple[Child, float]] = []

    def add(self, stream: str, settings: StreamConfig, *, from_file: bool) -> None:
        """Open a stream: in the worker and publisher that run, then in a capture process of its own."""
        ring = FrameRing(policy=_policy(settings), after=self._past.pop(stream, None))
        running = RunningStream(settings, ring, from_file=from_file)
        self.running[stream] = running
        order = OpenStream(stream, settings, redact(settings.source), ring.shape)
        # The publisher first: it must know the stream before the worker speaks of it.
        for name in (PUBLISHER, WORKER):
            if name in self._children:
                self._children[name].send(order, ring.fds)
        capture = Child(self._table.capture(stream, running))
        self._children[capture.name] = capture
        if self._capturing:
            capture.start()

    def start_captures(self) -> None:
        """Begin to read all sources, also those of streams to come."""
        self._capturing = True
        for stream in self.running:
            child = self._children[capture_name(stream)]
            if child.state == "waiting":
                child.start()

    def remove(self, stream: str) -> None:
        """Close a stream. Its capture process has a moment to end by itself."""
        running = self.running.pop(stream)
        capture = self._children.pop(capture_name(stream))
        capture.retire()
        capture.ask_to_stop()
        self._leaving.append((capture, time.monotonic() + _LEAVE_S))
        for name in (WORKER, PUBLISHER):
            self._children[name].send(CloseStream(stream))
        self._past[stream] = running.ring.counters()
        if len(self._past) > _MAX_PAST:
            del self._past[next(iter(self._past))]
        running.ring.close()

    def change(self, stream: str, settings: StreamConfig, what: StreamDifference) -> None:
        """Give a stream other settings; its source is opened anew only if it is concerned."""
        running = self.running[stream]
        if _policy(settings) != running.ring.shape.policy:
            self.remove(stream)
            self.add(stream, settings, from_file=True)
            return
        running.settings, running.from_file = settings, True
        if running.saved is not None:  # the worker says the same, unless it dies before
            running.saved = running.saved.changed(what.removed, what.prompts)
        self._children[WORKER].send(ChangeStream(stream, settings, what.removed, what.prompts))
        capture = self._children[capture_name(stream)]
        capture.replace_entry(self._table.capture(stream, running))
        if what.source and capture.state != "waiting":
            capture.renew()

    def keep(self, said: PromptsSaved) -> None:
        """Take note of what the worker follows."""
        if said.stream in self.running:
            self.running[said.stream].saved = said.saved

    def announce(self, kind: EventKind, stream: str) -> None:
        """Tell subscribers and the control process that a stream came or went."""
        self._publisher_socket.send_reliable(
            StreamEvent(stream=DAEMON, kind=kind, t_wall_ns=time.time_ns(), detail=stream)
        )
        self._children[CONTROL].send(self._table.info(self.running))

    def tend(self) -> None:
        """Collect capture processes of streams that are gone; kill those that do not end."""
        now = time.monotonic()
        too_many = len(self._leaving) - _MAX_LEAVING
        for place, (child, deadline) in enumerate(self._leaving):
            if child.alive() and (now > deadline or place < too_many):
                child.kill()
            child.collect()
        self._leaving = [(child, deadline) for child, deadline in self._leaving if child.alive()]

    def leaving(self) -> list[Child]:
        """Capture processes of streams that are gone."""
        return [child for child, _ in self._leaving]

    def drained(self) -> bool:
        """Whether there are streams, and every source is at its end with every frame of it tracked."""
        if not self.running or any(self._children[capture_name(one)].state != "ended" for one in self.running):
            return False
        counters = [running.ring.counters() for running in self.running.values()]
        return all(count.pending == 0 and count.held == 0 for count in counters)

    def close(self) -> None:
        """Give up all rings."""
        for running in self.running.values():
            running.ring.close()


def _policy(settings: StreamConfig) -> Policy:
    """A source with an end waits for the worker, so that no frame of it is lost."""
    return "newest" if describe(settings.source).live else "every"
