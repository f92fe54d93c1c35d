"""The worker: takes the newest frame of every ring, tracks, and sends the masks to the publisher.

It waits for the frames of all streams, for commands and for the supervisor in one poll. Which frames then go through
the tracker in one call is `worker/scheduler.py`'s to say: one camera's rate does not hold up another's.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import zmq

from streamseg.common.logs import setup_logging
from streamseg.config.schema import LogConfig, ModelConfig, StreamConfig
from streamseg.ipc.command_socket import CommandSocket
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.ipc.messages import WorkerReport
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import (
    ChangeStream,
    CloseStream,
    OpenStream,
    PromptsSaved,
    Report,
    SupervisorMessage,
)
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader
from streamseg.tracker.types import ObjectResult, Tracker
from streamseg.worker.command_handlers import handle_command
from streamseg.worker.scheduler import FairScheduler
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

_POLL_MS = 500
_REPORT_NS = 1_000_000_000
_FILE_SEND_TIMEOUT_S = 1.0
_CONNECT_S = 2.0
_COMMANDS_S = 0.05


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker needs to know.

    Attributes:
        model: The model's settings.
        streams: Id -> settings.
        internal_endpoint: Where the publisher listens.
        commands_endpoint: Where the control process listens.
        saved: Id -> what a worker before this one followed, as far as it differs from the settings.
        log: What to log.
    """

    model: ModelConfig
    streams: Mapping[str, StreamConfig]
    internal_endpoint: str
    commands_endpoint: str
    saved: Mapping[str, SavedStream] = field(default_factory=dict)
    log: LogConfig = field(default_factory=LogConfig)


def main(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    """Run until the supervisor says stop. The child's entry point.

    Raises:
        ModelError: the model cannot be built; no restart would help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "worker")
    # Read when torch loads its OpenMP. By default threads spin for long while they wait for each other; where a capture
    # process has taken one's core, the other spins for whole time slices. Nano with 3 objects on 2 busy cores: 575 ms a
    # frame spinning, 203 ms passive. Passive threads sleep at once, though, and a frame has hundreds of waits that are
    # shorter than a wake-up: GNU's OpenMP is told to spin for some 50 us first. Nano with one object on two Zen 4
    # cores: 30 in place of 51 ms where nothing else runs, the same 55 ms beside a busy process.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    from streamseg.tracker.create import create_tracker  # torch takes seconds to import: only in this process

    tracker = create_tracker(spec.model)

    def progress(what: str, share: float) -> None:
        log.info("warming up: %s (%.0f %%)", what, 100 * share)
        link.send(Report("progress"))

    tracker.warm_up(progress)
    worker = Worker(spec, rings, tracker, link)
    try:
        worker.run()
    finally:
        worker.close()


class Worker:
    """The worker's loop, around any tracker.

    Args:
        spec: What to do.
        rings: Stream id -> its ring.
        tracker: Warm.
        link: To the supervisor.
    """

    def __init__(self, spec: WorkerSpec, rings: Mapping[str, FrameRing], tracker: Tracker, link: ChildLink) -> None:
        self._spec = spec
        self._rings = dict(rings)
        self._tracker = tracker
        self._link = link
        self._publisher_socket = PublisherSocket(spec.internal_endpoint)
        self._inbox = CommandSocket(spec.commands_endpoint)
        self._completed = CompletedRequests()
        self._poller = zmq.Poller()
        self._poller.register(link.fileno(), zmq.POLLIN)
        self._poller.register(self._inbox.socket, zmq.POLLIN)
        self._readers: dict[str, RingReader] = {}
        self._streams: dict[str, TrackedStream] = {}
        self._unsent: Counter[str] = Counter()
        self._next_report_ns = 0
        self._scheduler = FairScheduler(tracker.streams_at_once)
        for stream, config in spec.streams.items():
            self._open(
                TrackedStream(
                    stream,
                    config,
                    tracker,
                    saved=spec.saved.get(stream),
                    memory_lost=_was_tracked(rings[stream]),
                )
            )

    def run(self) -> None:
        """Track until the supervisor says stop."""
        self._inbox.wait_connected(_CONNECT_S)
        self._link.send(Report("ready"))
        while not self._link.stop_requested():
            self._poller.poll(_POLL_MS)
            self._obey_orders()
            with ExitStack() as release:
                held = self._scheduler.next_batch(self._readers, lambda stream: self._readers[stream].take())
                for frame in held.values():
                    release.enter_context(frame)
                if held:
                    self._track(held)
            self._carry_out_commands()
            self._report()

    def close(self) -> None:
        """Close the sockets."""
        self._publisher_socket.close()
        self._inbox.close()

    def _carry_out_commands(self) -> None:
        """Do what was asked for meanwhile; not for long, since frames wait."""
        until = time.monotonic() + _COMMANDS_S
        while (command := self._inbox.take()) is not None:
            self._obey_orders()  # whoever was told that a stream was opened finds it open
            outcome = self._completed.find(command) or handle_command(command, self._streams)
            self._completed.keep(command, outcome)
            self._tell(command.stream)  # the supervisor, before anybody is told that it was done
            self._inbox.answer(outcome)
            if time.monotonic() > until:
                return

    def _obey_orders(self) -> None:
        for order in self._link.take_messages():
            self._obey(order)

    def _obey(self, order: SupervisorMessage) -> None:
        match order:
            case OpenStream(stream=stream, settings=settings, ring=ring):
                assert ring is not None
                self._rings[stream] = ring
                self._open(TrackedStream(stream, settings, self._tracker))
            case CloseStream(stream=stream):
                self._poller.unregister(self._readers.pop(stream).fileno())
                self._streams.pop(stream).close()
                self._rings.pop(stream).close()
            case ChangeStream(stream=stream, settings=settings, removed=removed, prompts=prompts):
                self._streams[stream].change(settings, removed, prompts)
                self._tell(stream)

    def _open(self, tracked: TrackedStream) -> None:
        reader = self._rings[tracked.stream].reader("worker")
        self._readers[tracked.stream] = reader
        self._streams[tracked.stream] = tracked
        self._poller.register(reader.fileno(), zmq.POLLIN)

    def _tell(self, stream: str) -> None:
        """Post a stream's events, and tell the supervisor what it follows if that has changed."""
        tracked = self._streams.get(stream)
        if tracked is None:
            return
        if (saved := tracked.take_saved()) is not None:
            self._link.send(PromptsSaved(stream, saved))
        for event in tracked.take_events():
            self._publisher_socket.send_reliable(event)

    def _track(self, held: Mapping[str, HeldFrame]) -> None:
        followed = {
            stream: holder for stream, holder in held.items() if self._streams[stream].begin_frame(holder.frame)
        }
        # Their masks are known, so they do not wait for those of the others.
        skipped = {stream: holder for stream, holder in held.items() if stream not in followed}
        patience_s = self._send(
            skipped,
            {stream: self._streams[stream].skip_frame(held[stream].frame) for stream in skipped},
            _FILE_SEND_TIMEOUT_S,
        )
        if followed:
            results = self._tracker.track({stream: holder.frame for stream, holder in followed.items()})
            for stream, holder in followed.items():
                results[stream] = self._streams[stream].finish_frame(holder.frame, results[stream])
            self._send(followed, results, patience_s)

    def _send(
        self, held: Mapping[str, HeldFrame], results: Mapping[str, list[ObjectResult]], patience_s: float
    ) -> float:
        """Send frames' masks to the publisher; wait for it so long at most, for all files together.

        Returns:
            What is left of that.
        """
        t_tracked_ns = time.monotonic_ns()
        patience_until = time.monotonic() + patience_s
        for stream, holder in held.items():
            shared = holder.share_with("publisher")
            message = self._streams[stream].message(
                holder.frame,
                results[stream],
                t_tracked_ns,
                dropped=self._rings[stream].counters().dropped,
                slot=holder.slot if shared else -1,
            )
            lossless = self._rings[stream].shape.policy == "every"
            if not self._publisher_socket.try_send(
                message, max(patience_until - time.monotonic(), 0.0) if lossless else 0.0
            ):
                self._unsent[stream] += 1
                if shared:
                    holder.withdraw("publisher")
            self._tell(stream)
        return max(patience_until - time.monotonic(), 0.0)

    def _report(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns < self._next_report_ns:
            return
        self._next_report_ns = now_ns + _REPORT_NS
        self._link.send(Report("progress"))
        self._publisher_socket.flush()
        self._publisher_socket.try_send(
            WorkerReport(
                model=self._spec.model.name,
                device=self._tracker.device,
                tracked={stream: tracked.tracked for stream, tracked in self._streams.items()},
                drops={stream: self._drops(stream) for stream in self._streams},
                device_memory_bytes=self._tracker.device_memory_bytes,
                recompiles=self._tracker.recompiles,
                repeated={stream: tracked.repeated for stream, tracked in self._streams.items()},
                paused=[stream for stream, tracked in self._streams.items() if tracked.paused],
            )
        )

    def _drops(self, stream: str) -> dict[str, int]:
        drops = {
            "publish/queue_full": self._unsent[stream],
            "event/publisher_away": self._publisher_socket.lost_events[stream],
        }
        return {reason: count for reason, count in drops.items() if count}


def _was_tracked(ring: FrameRing) -> bool:
    """Whether a worker before this one took frames of the ring: its memory of their objects died with it."""
    counters = ring.counters()
    taken = counters.frames - counters.dropped - counters.pending - counters.held
    return taken > 0 or counters.abandoned > 0
