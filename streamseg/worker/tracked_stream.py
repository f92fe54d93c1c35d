"""One stream inside the worker: its prompts, its objects' states, and how it reacts to a new epoch.

Each frame passes through :meth:`TrackedStream.begin_frame` and the :class:`FrameTurn` that it returns, which can be
finished only once and only while it is the newest (`track_frames.py` does both). Every change of what the stream
follows is saved (:meth:`TrackedStream.take_saved`), so that the next worker can continue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import NothingToUndoError, PromptError
from streamseg.frame import Frame
from streamseg.ipc.messages import StreamEvent, TrackedObject
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream, configured, normalize_prompt
from streamseg.protocol.published import EventKind, ObjectState, Region, RegionCounts
from streamseg.tracker.types import ObjectResult, Preview, PromptResult, Tracker
from streamseg.worker.frame_turn import FrameResult, FrameTurn, pack_object
from streamseg.worker.hidden_objects import HiddenObjects
from streamseg.worker.object_states import ObjectStates
from streamseg.worker.object_table import ObjectTable
from streamseg.worker.prompts import build_prompt, full_rle
from streamseg.worker.static_frames import StaticFrames
from streamseg.worker.undo import UndoStack
from streamseg.worker.zones import RegionEvent, RegionMonitor

log = logging.getLogger(__name__)

_RETRY: Final = BackoffPolicy(first_s=1, max_s=60, healthy_s=30)
"""Of tracking a stream on which the tracker raised an exception."""


@dataclass(slots=True)
class Latest:
    """The newest tracked frame. Frames that repeat its masks do not replace it: a prompt on them applies to it.

    Attributes:
        frame_id: Its number.
        epoch: Epoch of the stream.
        size: (width, height) in pixels.
        t_wall_ns: Capture time.
        results: Object id -> result, oldest first.
        states: Object id -> state.
    """

    frame_id: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: int
    results: dict[int, ObjectResult]
    states: dict[int, ObjectState]


class TrackedStream:
    """Applies a stream's prompts and policies to the tracker, frame by frame.

    Args:
        name: Id of the stream.
        config: Its settings.
        tracker: Shared by all streams; the stream is opened on it.
        saved: What an earlier worker followed; None to begin with the configured prompts.
        memory_lost: An earlier worker tracked the stream, and its memory of the objects died with it. The objects
            are prompted again, or forgotten if ``on_discontinuity`` is ``reset``.
        max_objects: Largest number of objects. Removed ones are tracked on while there is room, so that a removal can
            be undone; 0: they are not.

    Attributes:
        config: Its settings.
        undo_stack: The last changes that clients made.
        paused: Frames are not tracked.
        tracked: Number of frames tracked.
        failed: Number of frames that were not tracked because of an exception of the tracker.
        repeated: Number of frames that were not tracked because they showed the same as the last tracked frame.
        latest: The newest tracked frame; None before the first.
    """

    def __init__(
        self,
        name: str,
        config: StreamConfig,
        tracker: Tracker,
        *,
        saved: SavedStream | None = None,
        memory_lost: bool = False,
        max_objects: int = 0,
    ) -> None:
        saved = configured(config.prompts) if saved is None else saved
        self.name = name
        self.tracked = self.repeated = self.failed = 0
        self.paused = saved.paused
        self.latest: Latest | None = None
        self._tracker = tracker
        self._memory_lost = memory_lost
        self._table = ObjectTable(saved.objects, saved.next_id)
        self._lost = saved.objects if memory_lost else ()
        if memory_lost and config.on_discontinuity == "reset" and not saved.planned:
            self._table.clear()
        self._states = ObjectStates(lost_after_ns=0)
        self._static = StaticFrames()
        self._regions = RegionMonitor({}, {})
        self._stream_time_ns = 0
        self._use_settings(config)
        self._epoch: int | None = None
        self._turn: FrameTurn | None = None
        self._hidden = HiddenObjects(max_objects, lambda obj_id: tracker.remove_object(name, obj_id))
        self.undo_stack = UndoStack()
        self._last_seen: dict[int, ObjectResult] = {}
        self._failure_backoff = Backoff(_RETRY)
        self._failed_at: float | None = None
        self._retry_at: float | None = None
        self._events: list[StreamEvent] = []
        tracker.open_stream(name)

    def close(self) -> None:
        """Close the stream on the tracker."""
        self._tracker.close_stream(self.name)

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
        if self._memory_lost:
            self._memory_lost = False
            lost, self._lost = self._lost, ()
            self._on_reset(lost, "the worker was restarted and has lost its memory", frame)
        if self._epoch is not None and frame.epoch != self._epoch:
            self._on_discontinuity(frame)
        self._epoch = frame.epoch
        self._stream_time_ns = frame.stamps.stream_time_ns
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
        return FrameResult(
            stream=self.name,
            frame=frame,
            t_tracked_ns=time.monotonic_ns(),
            objects=[self._pack(result, frame) for result in found.values()],
            paused=self.paused,
            repeats=turn.repeats,
        )

    def _on_tracked(self, frame: Frame, results: Sequence[ObjectResult]) -> Mapping[int, ObjectResult]:
        """Take over the tracker's results and apply the pending prompts to the frame."""
        self.tracked += 1
        if self._repeat_static:
            self._static.tracked(frame, frame.stamps.stream_time_ns)
        self.latest = Latest(
            frame.frame_id,
            frame.epoch,
            (frame.format.width, frame.format.height),
            frame.stamps.t_wall_ns,
            self._hidden.take_results(results),
            {},
        )
        for obj_id, prompt in self._table.take_pending():
            self._apply(obj_id, prompt, frame, self.latest)
        self._last_seen = {
            obj_id: result if result.area else self._last_seen.get(obj_id, result)
            for obj_id, result in self.latest.results.items()
        }
        return self.latest.results

    def fail(self, frame: Frame, error: Exception) -> FrameResult:
        """Give up a frame after an exception of the tracker.

        The following frames are not tracked until a back-off is over. Then the objects start again from their last
        masks, since the exception may have left the tracker's memory of them in any state.

        Returns:
            The frame without objects.
        """
        if self._failed_at is not None:
            self._failure_backoff.succeeded(time.monotonic() - self._failed_at)
        self._failed_at = time.monotonic()
        wait_s = self._failure_backoff.next_wait_s()
        self._retry_at = self._failed_at + wait_s
        reason = f"{type(error).__name__}: {error}"
        log.error("stream %s: tracking failed: %s; next try in %.1f s", self.name, reason, wait_s, exc_info=error)
        self._event("tracking_failed", frame, detail=f"{reason}; next try in {wait_s:.1f} s")
        self._turn = FrameTurn(self.name, frame, self._finish, needs_tracking=False, repeats=None)
        return self._turn.finish()

    def _retry(self) -> None:
        """Start all objects again from their last masks."""
        self._retry_at = None
        self.save_masks()
        self._tracker.close_stream(self.name)
        self._tracker.open_stream(self.name)
        self._hidden.clear()
        self._forget_tracking()
        self._table.reprompt_all()

    def _on_repeated(self, frame: Frame, latest: Latest) -> Mapping[int, ObjectResult]:
        self.repeated += 1
        self._tracker.repeat(self.name, frame.frame_id)
        return latest.results

    def _is_static(self, frame: Frame) -> bool:
        """Whether the frame may repeat the masks of the newest tracked frame.

        Pending prompts need a frame that is tracked. Prompts that were applied have changed the newest results, so
        the masks have to settle again.
        """
        if not self._repeat_static or self.paused or self._table.has_pending:
            return False
        return self._static.unchanged(frame, frame.stamps.stream_time_ns)

    def _on_discontinuity(self, frame: Frame) -> None:
        policy = self.config.on_discontinuity
        if policy == "keep":
            self._table.retry_rejected()
            return
        followed = self._table.followed
        self._tracker.reset(self.name)
        self._hidden.clear()
        self._forget_tracking()
        if policy == "reset":
            self._table.clear()
        else:
            self._table.reprompt_all()
        self._on_reset(followed, f"epoch {frame.epoch} began and on_discontinuity is {policy}", frame)

    def _apply(self, obj_id: int, prompt: SavedPrompt, frame: Frame, latest: Latest) -> None:
        known = self._table.objects[obj_id]
        try:
            built = build_prompt(obj_id, prompt, latest.size)
            self._make_room(obj_id)
            latest.results[obj_id] = self._tracker.add_prompt(self.name, built).current
        except PromptError as error:
            if known.last_mask is not None:  # of frames of another size: its own prompts may fit
                known = replace(known, last_mask=None)
                self._table.save(known)
                self._table.add_pending(known)
                return
            self._table.reject(obj_id, prompt)
            log.error("stream %s: %s", self.name, error)
            self._event("prompt_rejected", frame, obj_id=obj_id, label=known.label, detail=str(error))
        else:
            self._static.unsettle()
            self._follow(known)

    def _pack(self, result: ObjectResult, frame: Frame) -> TrackedObject:
        """Pack an object for the publisher and update its state."""
        label = self._table.objects[result.obj_id].label
        visible = result.object_score_logits > 0 and result.area > 0
        state, event = self._states.update(result.obj_id, visible, frame.stamps.stream_time_ns)
        if event is not None:
            self._event(event, frame, obj_id=result.obj_id, label=label)
        if visible:
            self._report_regions(self._regions.update(result, frame.stamps.stream_time_ns), label, frame)
        elif event == "object_lost":
            left = self._regions.forget(result.obj_id, frame.stamps.stream_time_ns, "lost")
            self._report_regions(left, label, frame)
        if self.latest is not None:
            self.latest.states[result.obj_id] = state
        return pack_object(result, label, state)

    # --- requests ---------------------------------------------------------------------------------------------------

    @property
    def objects(self) -> Mapping[int, SavedObject]:
        """Id -> object to follow, oldest first."""
        return self._table.objects

    @property
    def free_id(self) -> int:
        """An id that no object of this stream has had."""
        return self._table.free_id

    def is_followed(self, obj_id: int) -> bool:
        """Whether the tracker has the object. It has not while the object's prompt is pending or rejected."""
        return self._table.is_followed(obj_id)

    def add_prompt(self, obj_id: int, label: str, prompt: SavedPrompt, frame_id: int | None) -> PromptResult:
        """Start or correct an object on one of the newest frames. Requires :attr:`latest`.

        Raises:
            PromptError: the frame is gone, or the prompt does not fit it.
        """
        assert self.latest is not None
        built = build_prompt(obj_id, prompt, self.latest.size)
        self._make_room(obj_id)
        result = self._tracker.add_prompt(self.name, built, frame_id)
        self._static.unsettle()
        self._table.discard_prompts(obj_id)
        known = self._table.objects.get(obj_id)
        if known is None or not self._table.is_followed(obj_id):
            known = SavedObject(obj_id, label or (known.label if known else ""), (prompt,))
        else:
            known = replace(known.corrected(prompt), label=label or known.label)
        self._table.save(known)
        self._follow(known)
        self.latest.results[obj_id] = result.current
        return result

    def preview(self, obj_id: int, prompt: SavedPrompt, frame_id: int | None) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame. Changes nothing.

        Raises:
            PromptError: as :meth:`add_prompt`.
        """
        assert self.latest is not None
        built = build_prompt(obj_id, prompt, self.latest.size)
        self._make_room(obj_id)
        return self._tracker.preview(self.name, built, frame_id)

    def find_frame(self, frame_id: int | None) -> int:
        """Return the tracked frame that a prompt for a frame applies to; None: the newest.

        Raises:
            FrameExpiredError: the frame is no longer held.
            PromptError: it was not tracked yet.
        """
        return self._tracker.find_frame(self.name, frame_id)

    def undo_prompt(self, obj_id: int) -> int:
        """Undo an object's last prompt.

        Returns:
            The number of prompts left; 0: the object is removed.

        Raises:
            NothingToUndoError: no prompt can be undone.
        """
        result = self._tracker.undo_prompt(self.name, obj_id)
        if result is None:
            self._forget(obj_id)
            return 0
        self._static.unsettle()
        known = self._table.objects[obj_id]
        known = replace(known, prompts=known.prompts[:-1] or known.prompts)
        self._table.save(known)
        if self.latest is not None:
            self.latest.results[obj_id] = result.current
        return len(known.prompts)

    def remove_object(self, obj_id: int, *, can_undo: bool = False) -> None:
        """Stop following an object. Its prompts may still be pending.

        Args:
            obj_id: The object.
            can_undo: The tracker follows it for another minute if there is room, so that :meth:`restore` can.
        """
        obj, followed = self._table.objects[obj_id], self._table.is_followed(obj_id)
        result = self.latest.results.get(obj_id) if self.latest is not None else None
        self._forget(obj_id)
        if followed and can_undo:
            self._hidden.hide(obj, result)
        elif followed:
            self._tracker.remove_object(self.name, obj_id)

    def restore(self, before: Mapping[int, SavedObject | None]) -> None:
        """Undo a change of objects.

        An object that the tracker no longer has is prompted again on the next tracked frame.

        Args:
            before: Id -> the object as it was before the change; None if it did not exist.
        """
        for obj_id, then in before.items():
            now = self._table.objects.get(obj_id)
            if then is None:
                if now is not None:
                    self.remove_object(obj_id)
            elif now is None:
                self._bring_back(then)
            else:
                if now.prompts != then.prompts and not self._took_back(now, then):
                    self.replace_objects((), (then,))
                self.label_object(obj_id, then.label)

    def _bring_back(self, obj: SavedObject) -> None:
        result = self._hidden.show(obj)
        if result is None or self.latest is None:
            self.replace_objects((), (obj,))
            return
        self._table.save(obj)
        self._static.unsettle()
        self._follow(obj)
        self.latest.results[obj.obj_id] = result

    def _took_back(self, now: SavedObject, then: SavedObject) -> bool:
        """Undo an object's last prompt in the tracker, if that is all that differs; return whether it was."""
        if then.corrected(now.prompts[-1]).prompts != now.prompts or not self._table.is_followed(now.obj_id):
            return False
        try:
            self.undo_prompt(now.obj_id)
        except NothingToUndoError:
            return False
        self._table.save(then)
        return True

    def _make_room(self, obj_id: int) -> None:
        if not self._table.is_followed(obj_id):
            self._hidden.make_room(len(self._table.followed), obj_id)

    def label_object(self, obj_id: int, label: str) -> None:
        """Name an object."""
        self._table.save(replace(self._table.objects[obj_id], label=label))

    def replace_objects(self, removed: Iterable[int], added: Iterable[SavedObject], *, can_undo: bool = False) -> None:
        """Remove objects and start others on the next tracked frame. An added object replaces the one with its id."""
        for obj_id in removed:
            if obj_id in self._table.objects:
                self.remove_object(obj_id, can_undo=can_undo)
        for obj in added:
            if obj.obj_id in self._table.objects:
                self.remove_object(obj.obj_id)
            self._table.save(obj)
            self._table.add_pending(obj)

    def change(self, config: StreamConfig, removed: Iterable[int], prompts: Iterable[PromptConfig]) -> None:
        """Switch to other settings.

        Args:
            config: The new settings.
            removed: Ids of objects that are no longer configured.
            prompts: Configured prompts that are new or different.
        """
        self._use_settings(config)
        self.undo_stack.clear()
        self.replace_objects(removed, (SavedObject(one.object, one.label, (normalize_prompt(one),)) for one in prompts))

    def reset(self, reason: str) -> None:
        """Forget all objects. The tracker follows them for another minute, so that :meth:`restore` can undo it."""
        followed = self._table.followed
        results = dict(self.latest.results) if self.latest is not None else {}
        self._forget_tracking()
        self._table.clear()
        for obj in followed:
            self._hidden.hide(obj, results.get(obj.obj_id))
        self._on_reset(followed, reason)

    def pause(self, paused: bool) -> None:
        """Pause or resume tracking."""
        self._table.changed |= paused != self.paused
        self.paused = paused
        self._static.forget()  # the first frame after a pause is tracked

    # --- output -----------------------------------------------------------------------------------------------------

    def take_events(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def region_counts(self) -> RegionCounts | None:
        """Return what happened at the stream's zones and lines; None if it has none."""
        return self._regions.counts()

    def take_saved(self) -> SavedStream | None:
        """Return what the next worker needs to follow the same objects; None if nothing changed since the last call."""
        return self._table.snapshot(paused=self.paused)

    def save_masks(self) -> None:
        """Make the objects' last masks part of :meth:`take_saved`."""
        self._table.save_masks({obj_id: full_rle(seen) for obj_id, seen in self._last_seen.items() if seen.area})

    # --- internals --------------------------------------------------------------------------------------------------

    def _use_settings(self, config: StreamConfig) -> None:
        self.config = config
        self._states.lost_after_ns = int(config.lost_after_s * 1e9)
        self._regions.change(config.zones, config.lines)
        self._repeat_static = config.repeat_static
        if not self._repeat_static:
            self._static.forget()

    def _follow(self, obj: SavedObject) -> None:
        if self._table.follow(obj.obj_id):
            self._event("object_added", obj_id=obj.obj_id, label=obj.label)

    def _forget(self, obj_id: int) -> None:
        label = self._table.objects[obj_id].label
        followed = self._table.remove(obj_id)
        self._states.forget(obj_id)
        self._last_seen.pop(obj_id, None)
        if self.latest is not None:
            self.latest.results.pop(obj_id, None)
        self._report_regions(self._regions.forget(obj_id, self._stream_time_ns, "removed"), label)
        if followed:
            self._event("object_removed", obj_id=obj_id, label=label)

    def _on_reset(self, followed: Sequence[SavedObject], reason: str, frame: Frame | None = None) -> None:
        """Record a reset of the tracker, and which of the objects that it followed are gone for good."""
        self._event("tracker_reset", frame, detail=reason, objects=[obj.obj_id for obj in followed])
        for obj in followed:
            if obj.obj_id not in self._table.objects:
                self._event("object_removed", frame, obj_id=obj.obj_id, label=obj.label)

    def _forget_tracking(self) -> None:
        """Drop all that belongs to the tracker's memory, which is gone; the objects stay in the table."""
        self._static.forget()
        self._states.clear()
        for event in self._regions.clear(self._stream_time_ns):
            self._report_regions([event], self._table.objects[event.obj_id].label)
        self._table.forget_tracking()
        if self.latest is not None:
            self.latest.results.clear()

    def _report_regions(self, events: Iterable[RegionEvent], label: str, frame: Frame | None = None) -> None:
        for event in events:
            kind, region = event.published()
            self._event(kind, frame, obj_id=event.obj_id, label=label, detail=event.text(label), region=region)

    def _event(
        self,
        kind: EventKind,
        frame: Frame | None = None,
        *,
        obj_id: int | None = None,
        label: str = "",
        detail: str = "",
        region: Region | None = None,
        objects: list[int] | None = None,
    ) -> None:
        """Record an event of a frame. Without ``frame`` it belongs to the newest tracked frame and happens now."""
        latest = self.latest
        self._events.append(
            StreamEvent(
                stream=self.name,
                kind=kind,
                t_wall_ns=frame.stamps.t_wall_ns if frame else time.time_ns(),
                epoch=frame.epoch if frame else latest.epoch if latest else 0,
                frame_id=frame.frame_id if frame else latest.frame_id if latest else None,
                obj_id=obj_id,
                label=label,
                detail=detail,
                region=region,
                objects=objects,
            )
        )
