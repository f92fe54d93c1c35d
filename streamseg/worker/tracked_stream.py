"""One stream inside the worker: its frames, its policies, and how it reacts to a new epoch or a failure.

Each frame passes through :meth:`TrackedStream.begin_frame` and the :class:`FrameTurn` that it returns, which can be
finished only once and only while it is the newest (`track_frames.py` does both). Every change of what the stream
tracks is saved (:meth:`TrackedStream.take_saved`), so that the next worker can continue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.config.schema import FindConfig, PromptConfig, PrompterConfig, StreamConfig
from streamseg.frame import Frame
from streamseg.ipc.messages import StreamEvent
from streamseg.ipc.saved_prompts import FindRequest, SavedObject, SavedStream, configured, normalize_prompt
from streamseg.protocol.published import RegionCounts
from streamseg.tracker.faults import classify
from streamseg.tracker.types import ObjectResult, Tracker
from streamseg.worker.find.finder import ObjectFinder
from streamseg.worker.find.found_objects import FoundObjects
from streamseg.worker.find.looks import Finder
from streamseg.worker.find.proposals import ProposalFinder
from streamseg.worker.frame_turn import FrameResult, FrameTurn
from streamseg.worker.inheritance import Inheritance, Restoration
from streamseg.worker.object_table import ObjectTable
from streamseg.worker.picture_memory import PictureMemory
from streamseg.worker.static_frames import StaticFrames
from streamseg.worker.stream_events import EventLog
from streamseg.worker.stream_objects import Latest, StreamObjects
from streamseg.worker.stream_overload import StreamOverload
from streamseg.worker.track_errors import logged_only, raise_if_device_lost
from streamseg.worker.undo import UndoStack

log = logging.getLogger(__name__)

_RETRY: Final = BackoffPolicy(first_s=1, max_s=60, healthy_s=30)
"""Back-off after the tracker raised an exception on a stream."""


class TrackedStream:
    """Applies a stream's prompts and policies to the tracker, frame by frame.

    Args:
        name: Id of the stream.
        config: Its settings.
        tracker: Shared by all streams; the stream is opened on it.
        left: What an earlier worker or daemon left; None to begin with the configured prompts.
        max_objects: Maximum number of removed objects whose memory is kept for a minute, so that a removal can be
            undone; 0: none.
        alive: Called between the prompts of a frame or a request, since each may take long.

    Attributes:
        config: Its settings.
        objects: The objects, and all requests about them.
        found: The objects that were found without a prompt.
        finder: Finds objects without a prompt, if the settings or a client ask for it.
        prompters: Prompter's name -> finder that uses its proposals.
        overload: The measures while the worker does not keep up with the stream.
        undo_stack: The last changes that clients made.
        paused: Frames are not tracked.
        tracked: Number of frames tracked.
        failed: Number of frames that were not tracked because of an exception of the tracker.
        repeated: Number of frames that were not tracked because they showed the same as the last tracked frame.
    """

    def __init__(
        self,
        name: str,
        config: StreamConfig,
        tracker: Tracker,
        *,
        left: Inheritance | None = None,
        max_objects: int = 0,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        left = Inheritance(configured(config.prompts)) if left is None else left
        saved = left.saved
        self.name = name
        self.tracked = self.repeated = self.failed = 0
        self.paused = saved.paused
        self._tracker = tracker
        table = ObjectTable(saved.objects, saved.next_id)
        self._events = EventLog(name)
        self.objects = StreamObjects(name, tracker, table, self._events, max_objects, alive)
        self.found = FoundObjects(self.objects)
        self.finder = ObjectFinder(self.found, tracker)
        self.prompters: dict[str, ProposalFinder] = {}
        self._find_request = saved.find
        self._static = StaticFrames()
        self._picture = PictureMemory()
        self.overload = StreamOverload(name, tracker, self.objects, self._events)
        self._turn: FrameTurn | None = None
        self.undo_stack = UndoStack()
        self._failure_backoff = Backoff(_RETRY)
        self._tried_at: float | None = None
        self._retry_at: float | None = None
        self._restoration: Restoration | None = None
        self._epoch: int | None = None
        self._left: Inheritance | None = left
        self._use_settings(config)
        with self.isolated():
            self._open(left)

    def _open(self, left: Inheritance) -> None:
        """Open the stream on the tracker, with what an earlier worker left."""
        self._tracker.open_stream(self.name)
        self._restoration = Restoration(self.objects, self.config, self._tracker, left)
        self._epoch = self._restoration.epoch
        self._left = None

    def close(self) -> None:
        """Close the stream on the tracker."""
        with logged_only(self.name, "it could not be closed on the tracker"):
            self._tracker.close_stream(self.name)

    @property
    def tracking(self) -> bool:
        """Frames are being tracked: there was one, and the stream is neither paused nor suspended after a failure."""
        return not self.paused and self.latest is not None and self._retry_at is None

    @property
    def latest(self) -> Latest | None:
        """The newest tracked frame; None before the first."""
        return self.objects.latest

    @property
    def finders(self) -> list[Finder]:
        """All finders of the stream."""
        return [self.finder, *self.prompters.values()]

    def _forget_looks(self) -> None:
        self.finder.forget()
        for finder in self.prompters.values():
            finder.forget()

    # --- frames -----------------------------------------------------------------------------------------------------

    def begin_frame(self, frame: Frame) -> FrameTurn:
        """Begin the stream's next frame. A new epoch may reset the stream.

        Returns:
            The turn that finishes the frame. An older turn can no longer be finished.
        """
        if self._retry_at is not None:
            if time.monotonic() < self._retry_at:
                self._turn = FrameTurn(self.name, frame, self._finish, needs_tracking=False, repeats=None)
                return self._turn
            self._retry()
        if self._restoration is not None:
            self._restoration.report(frame, self._events)
            self._restoration = None
        if self._epoch is not None and frame.epoch != self._epoch:
            self._on_discontinuity(frame)
        self._epoch = frame.epoch
        self.objects.stream_time_ns = frame.stamps.stream_time_ns
        repeats = self.latest.frame_id if self.latest is not None and self._is_static(frame) else None
        tracks = not self.paused and repeats is None
        self._turn = FrameTurn(self.name, frame, self._finish, needs_tracking=tracks, repeats=repeats)
        return self._turn

    def _finish(self, turn: FrameTurn, results: Sequence[ObjectResult] | None) -> FrameResult:
        if turn is not self._turn:
            raise RuntimeError(f"frame {turn.frame.frame_id} of {self.name!r} is finished, or a later one was begun")
        self._turn = None
        frame = turn.frame
        if results is not None:
            found = self._on_tracked(frame, results)
        elif self.paused or self.latest is None or self._retry_at is not None:
            self.failed += self._retry_at is not None
            found = {}
        else:
            found = self._on_repeated(frame, self.latest)
        t_tracked_ns = time.monotonic_ns()
        objects = [self.objects.pack(result, frame) for result in found.values()]
        if results is not None:
            self.finder.note_tracked(frame)
            if self.prompters:
                self.found.retire_lost("prompter")
        return FrameResult(
            stream=self.name,
            frame=frame,
            t_tracked_ns=t_tracked_ns,
            objects=objects,
            paused=self.paused,
            repeats=turn.repeats,
            failed=self._retry_at is not None,
        )

    def _on_tracked(self, frame: Frame, results: Sequence[ObjectResult]) -> Mapping[int, ObjectResult]:
        self.tracked += 1
        if self._repeat_static:
            self._static.tracked(frame, frame.stamps.stream_time_ns)
        if self.config.on_discontinuity == "reprompt":
            self._picture.remember(frame)
        found = self.objects.take_results(frame, results)
        if self.tracked == 1 and self.config.overload != "oldest_objects" and self.objects.suspended:
            self.objects.resume_all()  # an earlier worker with other settings had suspended them
            assert self.latest is not None
            found = self.latest.results
        if self.found.retire_jumped() and self.latest is not None:
            found = self.latest.results
        return found

    def fail(self, frame: Frame, reason: str, error: BaseException) -> FrameResult:
        """Give up a frame after an exception of the tracker.

        The following frames are not tracked until a back-off is over. Then the objects that were visible start again
        from their last masks, and the others are lost, since the exception may have left the tracker's memory of them
        in any state.

        Args:
            frame: The frame.
            reason: What happened, for people.
            error: The exception.

        Returns:
            The frame without objects.
        """
        self._suspend(frame, reason, error)
        self._turn = FrameTurn(self.name, frame, self._finish, needs_tracking=False, repeats=None)
        return self._turn.finish()

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Suspend this stream, as :meth:`fail` does, if the tracker raises between two frames.

        Raises:
            DeviceError: the device is lost, so that no stream can be tracked in this process.
        """
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - logged and published by the stream
            raise_if_device_lost(error)
            self._suspend(None, classify(error).text, error)

    def _suspend(self, frame: Frame | None, reason: str, error: BaseException) -> None:
        now = time.monotonic()
        if self._tried_at is not None:
            self._failure_backoff.succeeded(now - self._tried_at)
        wait_s = self._failure_backoff.next_wait_s()
        self._tried_at = self._retry_at = now + wait_s
        log.error("stream %s: tracking failed: %s; next try in %.1f s", self.name, reason, wait_s, exc_info=error)
        self._events.add("tracking_failed", frame, detail=f"{reason}; next try in {wait_s:.1f} s")
        self._forget_looks()

    def _retry(self) -> None:
        """Start the visible objects again from their last masks."""
        self._retry_at = None
        with logged_only(self.name, "it could not be closed on the tracker"):
            self._tracker.close_stream(self.name)
        if self._left is not None:  # it was never open
            self._open(self._left)
            return
        self._tracker.open_stream(self.name)
        self.overload.stream_reopened()
        self._static.forget()
        self.objects.start_from_masks()

    def _on_repeated(self, frame: Frame, latest: Latest) -> Mapping[int, ObjectResult]:
        self.repeated += 1
        self._tracker.repeat(self.name, frame.frame_id)
        return latest.results

    def _is_static(self, frame: Frame) -> bool:
        """Whether the frame may repeat the masks of the newest tracked frame.

        Pending prompts need a frame that is tracked. Prompts that were applied have changed the newest results, so
        the masks have to settle again.
        """
        if self.objects.results_changed:
            self.objects.results_changed = False
            self._static.unsettle()
        if not self._repeat_static or self.paused or self.objects.table.has_pending:
            return False
        return self._static.unchanged(frame, frame.stamps.stream_time_ns)

    def _on_discontinuity(self, frame: Frame) -> None:
        policy, table = self.config.on_discontinuity, self.objects.table
        self._forget_looks()  # earlier pictures say nothing about the new scene
        self.found.dismissed.clear()
        self.objects.regions.cut()
        if policy == "keep":
            table.retry_rejected()
            return
        tracked = self.objects.announced
        reason = f"epoch {frame.epoch} began and on_discontinuity is {policy}"
        if policy == "reprompt" and (kept := self._keep_masks(frame)):
            reason += f"; objects {', '.join(map(str, kept))} start from their last masks: the picture agrees there"
        self._tracker.reset(self.name)
        self._static.forget()
        self.objects.tracker_cleared()
        if policy == "reset":
            table.clear()
        else:
            self.objects.drop_found()  # their old places mean nothing now: the next look finds them
            table.reprompt_all()
        self.objects.report_reset(tracked, reason, frame)

    def _keep_masks(self, frame: Frame) -> list[int]:
        """Make visible objects start from their last masks where a new epoch looks the same there; return their ids.

        An object has moved since it was prompted, so its mask is closer to it than the old clicks.
        """
        latest = self.latest
        if latest is None or latest.size != (frame.format.width, frame.format.height):
            return []
        here = {obj_id for obj_id, result in latest.results.items() if result.area}
        kept = sorted(obj_id for obj_id in here if self._picture.agrees(frame, latest.results[obj_id].roi))
        return self.objects.save_masks(kept)

    # --- requests ---------------------------------------------------------------------------------------------------

    def change(self, config: StreamConfig, removed: Iterable[int], prompts: Iterable[PromptConfig]) -> None:
        """Switch to other settings.

        Args:
            config: The new settings.
            removed: Ids of objects that are no longer configured.
            prompts: Configured prompts that are new or different.
        """
        with self.isolated():
            self._use_settings(config)
        self.undo_stack.clear()
        added = [SavedObject(one.object, one.label, (normalize_prompt(one),), origin="config") for one in prompts]
        for obj_id in removed:
            with self.isolated():
                self.objects.replace((obj_id,), ())
        for obj in added:
            with self.isolated():
                self.objects.replace((), (obj,))

    def reset(self, reason: str) -> None:
        """Forget all objects, for now: undo brings them back."""
        self._static.forget()
        self._forget_looks()
        self.found.dismissed.clear()
        self.objects.reset(reason)

    def find(self, config: FindConfig) -> None:
        """Find objects with other settings than the configured ones, until those change."""
        self._find_request = FindRequest(self.config.find, config)
        self.objects.table.changed = True
        self.finder.change(config)

    def pause(self, paused: bool) -> None:
        """Pause or resume tracking."""
        self.objects.table.changed |= paused != self.paused
        self.paused = paused
        self._forget_looks()
        self._static.forget()  # the first frame after a pause is tracked

    # --- output -----------------------------------------------------------------------------------------------------

    def take_events(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        return self._events.take()

    def region_counts(self) -> RegionCounts | None:
        """Return what happened at the stream's zones and lines; None if it has none."""
        return self.objects.regions.counts()

    def take_saved(self) -> SavedStream | None:
        """Return what the next worker needs to track the same objects; None if nothing changed since the last call."""
        saved = self.objects.table.snapshot(paused=self.paused)
        return None if saved is None else replace(saved, find=self._find_request)

    def save_for_planned_restart(self) -> SavedStream:
        """Return what the next worker needs to continue without this one's memory.

        Suspended objects are resumed on the newest frame, because the next worker can only start them from masks.
        """
        try:
            self.objects.resume_all()
        except BaseException:  # the device may be lost, but the other objects' masks are still good
            log.exception("stream %s: suspended objects could not be resumed", self.name)
        self.objects.save_masks()
        self.objects.table.changed = True
        saved = self.take_saved()
        assert saved is not None
        return replace(saved, planned=True, unseen=tuple(sorted(self.objects.unseen)))

    def _proposal_finder(self, name: str, config: PrompterConfig, share: float) -> ProposalFinder:
        """Return the finder of a prompter; a new one if its settings have changed."""
        known = self.prompters.get(name)
        if known is not None and (known.config, known.share) == (config, share):
            return known
        return ProposalFinder(name, config, self.found, self._tracker, share)

    def _use_settings(self, config: StreamConfig) -> None:
        self.config = config
        states = self.objects.states
        states.lost_after_ns = int(config.lost_after_s * 1e9)
        states.uncertain_below, states.uncertain_after_ns = config.uncertain_below, int(config.uncertain_after_s * 1e9)
        self.objects.change_regions(config.zones, config.lines)
        self.objects.cleanup_px = config.mask_cleanup
        self.objects.exclusive = config.overlap == "exclusive"
        request = self._find_request
        if request is not None and request.configured != config.find:
            request = self._find_request = None
        self.finder.change(config.find if request is None else request.requested)
        before = self.prompters
        self.prompters = {
            name: self._proposal_finder(name, prompter, config.find.share)
            for name, prompter in config.prompters.items()
        }
        for name, finder in before.items():
            if self.prompters.get(name) is not finder:
                finder.forget()  # the tracker need not hold its frame
        self._repeat_static = config.repeat_static
        if not self._repeat_static:
            self._static.forget()
        self.overload.change(config.overload)  # last: the tracker may raise
