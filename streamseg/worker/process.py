"""The worker process: takes the newest frame of every ring, tracks it, and sends the masks to the publisher.

One poll waits for the frames of all streams, for commands and for the supervisor. `scheduler.py` decides which frames
go through the tracker in one batch, `track_frames.py` tracks them.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Final

import cv2
import zmq

from streamseg.common.logs import setup_logging
from streamseg.common.unused_memory import limit_arenas, return_unused_memory
from streamseg.config.schema import StreamConfig
from streamseg.ipc.command_socket import CommandSocket
from streamseg.ipc.commands import Command
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.saved_prompts import SavedStream, configured
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import (
    ChangeStream,
    CloseStream,
    OpenStream,
    PromptsSaved,
    Report,
    SaveMasks,
    SupervisorMessage,
)
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader
from streamseg.tracker.faults import free_cached_memory
from streamseg.tracker.types import Tracker
from streamseg.worker.command_handlers import handle_command, handle_previews
from streamseg.worker.find.looks import Finder, LookSchedule
from streamseg.worker.frame_turn import FrameResult
from streamseg.worker.inheritance import Inheritance, read_snapshot, was_tracked
from streamseg.worker.openmp import configure_openmp
from streamseg.worker.preview_queue import PreviewQueue, is_preview
from streamseg.worker.prompter_exchange import PrompterExchange
from streamseg.worker.report import WorkerReporter, preparation_reporter
from streamseg.worker.restore_guard import RestoreGuard
from streamseg.worker.scheduler import FairScheduler
from streamseg.worker.snapshots import Snapshots
from streamseg.worker.spec import WorkerSpec
from streamseg.worker.step_clock import StepClock
from streamseg.worker.track_errors import raise_if_device_lost
from streamseg.worker.track_frames import track_frames
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

_ARENAS: Final = 2
"""malloc arenas. One thread tracks; the others allocate briefly and need no arena of their own."""
_POLL_MS: Final = 500
_FILE_SEND_TIMEOUT_S: Final = 1.0
"""How long the frames of files wait for the publisher, per batch."""
_CONNECT_TIMEOUT_S: Final = 2.0
_COMMANDS_S: Final = 0.05
"""Time for commands per turn of the loop, since frames wait meanwhile."""


def main(spec: WorkerSpec, rings: dict[str, FrameRing], connection: Connection) -> None:
    """Run until the supervisor asks to stop. Entry point of the child process.

    Raises:
        ModelError: the model cannot be built; a restart would not help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "worker")
    configure_openmp()
    limit_arenas(_ARENAS)
    cv2.setNumThreads(1)  # splitting its small operations saves no time and costs other processes a core
    from streamseg.tracker.create import create_tracker  # imports torch, which takes seconds: only in this process

    tracker = create_tracker(spec.model)
    steps = StepClock()
    tracker.warm_up(preparation_reporter(link, steps))
    return_unused_memory()  # what building the model took
    steps.warmed_up()
    worker = Worker(spec, rings, tracker, link, steps)
    try:
        worker.run()
    finally:
        worker.close()


class Worker:
    """The worker's loop, around any tracker.

    Args:
        spec: What to do.
        rings: Stream id -> its ring.
        tracker: The tracker, warmed up.
        link: Link to the supervisor.
        steps: Measures the steps.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        rings: Mapping[str, FrameRing],
        tracker: Tracker,
        link: ChildLink,
        steps: StepClock | None = None,
    ) -> None:
        self._spec = spec
        self._rings = dict(rings)
        self._tracker = tracker
        self._link = link
        self._steps = StepClock() if steps is None else steps
        self._publisher = PublisherSocket(spec.internal_endpoint)
        self._commands = CommandSocket(spec.commands_endpoint, spec.worker_id)
        self._prompters = PrompterExchange(spec.prompters_endpoint)
        self._completed = CompletedRequests()
        self._poller = zmq.Poller()
        self._poller.register(link.fileno(), zmq.POLLIN)
        self._poller.register(self._commands.socket, zmq.POLLIN)
        self._poller.register(self._prompters.socket, zmq.POLLIN)
        self._readers: dict[str, RingReader] = {}
        self._streams: dict[str, TrackedStream] = {}
        self._unsent: Counter[str] = Counter()
        self._reporter = WorkerReporter(spec.model.name, tracker, link, self._publisher, self._steps)
        self._scheduler = FairScheduler(tracker.streams_at_once)
        self._snapshots = Snapshots(spec.snapshots, tracker)
        self._restores = RestoreGuard(spec.snapshots.folder)
        self._looks = LookSchedule()
        self._previews = PreviewQueue()
        for stream, config in spec.streams.items():
            self._open(stream, config, spec.saved.get(stream), memory_lost=was_tracked(rings[stream]))

    def run(self) -> None:
        """Track until the supervisor asks to stop."""
        self._commands.wait_connected(_CONNECT_TIMEOUT_S)
        self._link.send(Report("ready"))
        self._report()  # the publisher learns the model before the first frame
        while not self._link.stop_requested():
            self._poller.poll(self._poll_ms())
            self._steps.begin()
            self._handle_messages()
            with ExitStack() as release:
                held = self._scheduler.next_batch(self._readers, lambda stream: self._readers[stream].take())
                for frame in held.values():
                    release.enter_context(frame)
                for part in self._restores.parts(held):
                    self._track(part)
            self._handle_commands()
            self._prompters.take(self._streams)
            self._measure_overload()
            self._look()
            self._restores.check(self._streams)
            self._snapshots.take_due(self._streams)
            self._steps.lap()
            self._report()
        self._handle_messages()  # messages that arrived just before the request to stop
        self._snapshots.take_all(self._streams)
        self._restores.close()

    def close(self) -> None:
        """Close the sockets."""
        self._publisher.close()
        self._commands.close()
        self._prompters.close()
        self._snapshots.close()

    # --- commands and messages --------------------------------------------------------------------------------------

    def _handle_commands(self) -> None:
        """Execute the commands that have arrived. Previews wait for their share of the time."""
        until = time.monotonic() + _COMMANDS_S
        while time.monotonic() < until and (command := self._commands.take()) is not None:
            if not is_preview(command):
                self._execute(command)
            elif (refusal := self._previews.add(command)) is not None:
                self._commands.answer(refusal)
        while (refusal := self._previews.take_late()) is not None:
            self._commands.answer(refusal)
        if previews := self._previews.take():
            began = time.monotonic()
            self._handle_messages()
            # Previews are not stored as completed requests: a moving mouse would evict all others.
            for outcome in handle_previews(previews, self._streams):
                self._commands.answer(outcome)
            if any(ring.counters().pending for ring in self._rings.values()):
                self._previews.note_run(time.monotonic() - began)

    def _execute(self, command: Command) -> None:
        self._handle_messages()  # a command may be about a stream that was opened just now
        outcome = self._completed.find(command) or handle_command(command, self._streams)
        self._completed.keep(command, outcome)
        self._flush_stream(command.stream)  # the supervisor saves the change before it is confirmed
        if (tracked := self._streams.get(command.stream)) is not None:
            self._snapshots.save_prompted(command.stream, tracked)
        self._commands.answer(outcome)

    def _handle_messages(self) -> None:
        for message in self._link.take_messages():
            self._handle_message(message)

    def _handle_message(self, message: SupervisorMessage) -> None:
        match message:
            case OpenStream(stream=stream, settings=settings, ring=ring, saved=saved):
                assert ring is not None
                self._rings[stream] = ring
                self._open(stream, settings, saved, memory_lost=False)
            case CloseStream(stream=stream):
                self._poller.unregister(self._readers.pop(stream).fileno())
                self._streams.pop(stream).close()
                self._rings.pop(stream).close()
                self._snapshots.forget(stream)
                self._restores.forget(stream)
            case ChangeStream(stream=stream, settings=settings, removed=removed, prompts=prompts):
                self._prepare(stream, settings)
                self._streams[stream].change(settings, removed, prompts)
                self._flush_stream(stream)
            case SaveMasks():
                for stream, tracked in self._streams.items():
                    self._link.send(PromptsSaved(stream, tracked.save_for_planned_restart()))
                    self._flush_stream(stream)

    def _open(self, stream: str, config: StreamConfig, saved: SavedStream | None, *, memory_lost: bool) -> None:
        self._prepare(stream, config)
        left = self._inheritance(stream, config, saved or configured(config.prompts), memory_lost)
        tracked = TrackedStream(
            stream, config, self._tracker, left=left, max_objects=self._spec.model.max_objects, alive=self._alive
        )
        self._restores.opened()
        reader = self._rings[stream].reader("worker")
        self._readers[stream] = reader
        self._streams[stream] = tracked
        self._poller.register(reader.fileno(), zmq.POLLIN)

    def _prepare(self, stream: str, config: StreamConfig) -> None:
        """Prepare the smaller input if a stream may need it. Without it, the stream is tracked at a lower rate."""
        if config.overload != "smaller_input":
            return
        try:
            side = self._tracker.prepare_smaller_input(preparation_reporter(self._link, self._steps))
        except BaseException as error:
            raise_if_device_lost(error)
            log.exception("stream %s: overload: smaller_input works as lower_rate: it cannot be prepared", stream)
        else:
            if side is None:
                log.warning(
                    "stream %s: overload: smaller_input works as lower_rate: this model has no smaller one", stream
                )
            return
        free_cached_memory()  # outside of the handler, which would keep the failed call's tensors

    def _inheritance(self, stream: str, config: StreamConfig, saved: SavedStream, memory_lost: bool) -> Inheritance:
        """Return what an earlier worker or daemon left of a stream; a new stream has no snapshot."""
        spec = self._spec.snapshots
        if not (memory_lost or saved.earlier):
            return Inheritance(saved)
        snapshot, reason = read_snapshot(spec.folder, stream, config, self._tracker.memory_format, spec.max_age_s)
        if snapshot is not None and (crashed := self._restores.begin(stream)):
            snapshot, reason = None, crashed
        if snapshot is None and saved.objects:
            log.warning("stream %s: %s", stream, reason)
        return Inheritance(saved, memory_lost, snapshot, reason, spec.session)

    def _flush_stream(self, stream: str) -> None:
        """Send a stream's events, and its objects to the supervisor if they have changed."""
        tracked = self._streams.get(stream)
        if tracked is None:
            return
        if (saved := tracked.take_saved()) is not None:
            self._link.send(PromptsSaved(stream, saved))
            self._snapshots.changed(stream)
        for event in tracked.take_events():
            self._publisher.send_reliable(event)

    # --- looks for objects ------------------------------------------------------------------------------------------

    def _poll_ms(self) -> int:
        """Return how long to wait for frames and commands: not at all if a preview or a part of a look may run."""
        looks_s = self._looks.wait_s(self._finders())
        waits_s = [wait_s for wait_s in (looks_s, self._previews.wait_s()) if wait_s is not None]
        return min([_POLL_MS, *(math.ceil(1000 * wait_s) for wait_s in waits_s)])

    def _look(self) -> None:
        """Run a part of a look, if one is under way and within its share of the time."""
        stream = self._looks.run(self._finders())
        if stream is not None:
            self._flush_stream(stream)

    def _finders(self) -> Iterator[Finder]:
        return itertools.chain.from_iterable(tracked.finders for tracked in self._streams.values())

    # --- frames -----------------------------------------------------------------------------------------------------

    def _track(self, held: Mapping[str, HeldFrame]) -> None:
        timeout_s = _FILE_SEND_TIMEOUT_S
        frames = {stream: holder.frame for stream, holder in held.items()}
        batch_began, sending_s = time.monotonic(), 0.0
        for result in track_frames(self._tracker, self._streams, frames):
            began = time.monotonic()
            self._send(result, held[result.stream], timeout_s)
            sending_s += time.monotonic() - began
            timeout_s = max(_FILE_SEND_TIMEOUT_S - sending_s, 0.0)
        self._looks.note_frame(time.monotonic() - batch_began - sending_s)

    def _send(self, result: FrameResult, holder: HeldFrame, timeout_s: float) -> None:
        """Send a frame's masks to the publisher. Frames of files wait for it, others never."""
        ring = self._rings[result.stream]
        shared = holder.share_with("publisher")
        message = result.message(dropped=ring.counters().dropped, slot=holder.slot if shared else -1)
        if not self._publisher.try_send(message, timeout_s if ring.shape.policy == "every" else 0.0):
            self._unsent[result.stream] += 1
            if shared:
                holder.withdraw("publisher")
        tracked = self._streams[result.stream]
        with tracked.isolated():
            self._prompters.offer(tracked, result, holder)
        self._flush_stream(result.stream)

    def _measure_overload(self) -> None:
        for stream, tracked in self._streams.items():
            counters = self._rings[stream].counters()
            dropped = counters.superseded + counters.no_slot
            with tracked.isolated():
                tracked.overload.measure(counters.frames, dropped, tracking=tracked.tracking)
            self._flush_stream(stream)

    def _alive(self) -> None:
        """Tell the supervisor that a long step goes on, such as after one of many prompts."""
        self._steps.lap()
        self._report()

    def _report(self) -> None:
        self._reporter.report(self._streams, self._drops)

    def _drops(self, stream: str) -> dict[str, int]:
        return {
            "publish/queue_full": self._unsent[stream],
            "snapshot/failed": self._snapshots.failed[stream],
            "event/publisher_away": self._publisher.lost_events[stream],
        }
