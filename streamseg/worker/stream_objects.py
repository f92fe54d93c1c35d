"""The objects of one stream in table and tracker, and every change that a client or the settings request.

:class:`~streamseg.worker.tracked_stream.TrackedStream` passes frames through it, ``command_handlers.py`` requests.
One long class on purpose: table, tracker, states and events change together, and no caller can forget one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from streamseg.config.schema import LineConfig, ZoneConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.ipc.messages import TrackedObject
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt
from streamseg.protocol.arguments import Rle
from streamseg.protocol.mask_codec import encode_rle
from streamseg.protocol.published import ObjectState, Origin
from streamseg.tracker.measure import unseen, unusable
from streamseg.tracker.types import BoolMask, ObjectResult, Preview, Prompt, PromptResult, Question, Tracker
from streamseg.worker.exclusive_masks import exclusive
from streamseg.worker.frame_turn import pack_object
from streamseg.worker.hidden_objects import HiddenObjects
from streamseg.worker.mask_cleanup import cleaned
from streamseg.worker.object_states import ObjectStates
from streamseg.worker.object_table import ObjectTable
from streamseg.worker.prompts import build_prompt, full_rle
from streamseg.worker.stream_events import EventLog
from streamseg.worker.zones import RegionMonitor

log = logging.getLogger(__name__)


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


class StreamObjects:
    """Objects by id, with their prompts, masks, states and events.

    Args:
        name: Id of the stream.
        tracker: The stream is open on it.
        table: The objects to begin with.
        events: Where events go.
        max_objects: Maximum number of removed objects that can come back.
        alive: Called between prompts, each of which may take long.

    Attributes:
        table: The objects and their prompts.
        states: States of the objects that the tracker has.
        regions: Zones and lines.
        stream_time_ns: Stream time of the newest frame.
        cleanup_px: Holes and specks of masks with fewer pixels are removed.
        exclusive: Each pixel belongs to one object.
        suspended: Ids of objects that are not tracked because of overload, oldest first; the tracker keeps their
            memory.
        missing: Ids of objects whose memory was lost with an earlier worker: they are ``lost`` until they are prompted.
        results_changed: A prompt has changed results of the newest frame; reset by the owner.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        table: ObjectTable,
        events: EventLog,
        max_objects: int,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.table = table
        self.states = ObjectStates(lost_after_ns=0)
        self.regions = RegionMonitor({}, {})
        self.stream_time_ns = 0
        self.cleanup_px = 0
        self.exclusive = False
        self.missing: set[int] = set()
        self.suspended: tuple[int, ...] = ()
        self.results_changed = False
        self._tracker = tracker
        self._events = events
        self._alive = alive
        self._max_objects = max_objects
        self._latest: Latest | None = None
        self._outdated = False
        self._hidden = HiddenObjects(tracker, name, max_objects)
        self._given: dict[int, ObjectResult] = {}
        self._last_seen: dict[int, ObjectResult] = {}

    @property
    def latest(self) -> Latest | None:
        """The newest tracked frame; None before the first. Changed results are refined when it is read."""
        if self._latest is not None and self._outdated:
            self._refine(self._latest)
        return self._latest

    @property
    def announced(self) -> tuple[SavedObject, ...]:
        """The objects that clients see: the tracked ones and the missing ones; oldest first."""
        return tuple(
            obj for obj_id, obj in self.table.objects.items() if self.table.is_tracked(obj_id) or obj_id in self.missing
        )

    @property
    def unseen(self) -> frozenset[int]:
        """Ids of the objects that were announced and are not visible on the newest tracked frame."""
        results = {} if self._latest is None else self._given
        return frozenset(
            obj.obj_id for obj in self.announced if obj.obj_id not in results or not _is_visible(results[obj.obj_id])
        )

    # --- frames -----------------------------------------------------------------------------------------------------

    def take_results(self, frame: Frame, results: Sequence[ObjectResult]) -> Mapping[int, ObjectResult]:
        """Take over the tracker's results for a frame, and apply the pending prompts to it."""
        self._hidden.expire()
        self._events.note_tracked(frame)
        self._latest = Latest(
            frame.frame_id,
            frame.epoch,
            (frame.format.width, frame.format.height),
            frame.stamps.t_wall_ns,
            {},
            {},
        )
        size = self._latest.size
        self._given = {result.obj_id: result for result in results}
        for result in results:
            self._check(result, frame)
        self._given.update({obj_id: unseen(obj_id, size) for obj_id in (*sorted(self.missing), *self.suspended)})
        for obj_id, prompt in self.table.take_pending():
            self._alive()
            self._apply(obj_id, prompt, frame, self._latest)
        self._last_seen = {
            obj_id: result if result.area else self._last_seen.get(obj_id, result)
            for obj_id, result in self._given.items()
        }
        self._refine(self._latest)
        return self._latest.results

    def _refine(self, latest: Latest) -> None:
        """Set the results that are published: cleaned, and cut if masks are exclusive."""
        refined = {obj_id: cleaned(result, self.cleanup_px) for obj_id, result in self._given.items()}
        if self.exclusive:  # a cut leaves specks, but no holes: a hole there is another object
            cut = exclusive(refined)
            refined = {
                obj_id: result if result is refined[obj_id] else cleaned(result, self.cleanup_px, fill_holes=False)
                for obj_id, result in cut.items()
            }
        latest.results = refined
        self._outdated = False

    def _apply(self, obj_id: int, prompt: SavedPrompt, frame: Frame, latest: Latest) -> None:
        known = self.table.objects[obj_id]
        try:
            built = build_prompt(obj_id, prompt, latest.size)
            result = self._tracker.add_prompt(self.name, built)
        except PromptError as error:
            if known.last_mask is not None:  # from frames of another size: its prompts may still fit
                known = replace(known, last_mask=None)
                self.table.save(known)
                self.table.add_pending(known)
                return
            replaced = self._hidden.find(obj_id)
            detail = str(error) if replaced is None else f"{error}; the object goes on as before"
            log.error("stream %s: %s", self.name, detail)
            self._events.add("prompt_rejected", frame, obj_id=obj_id, label=known.label, detail=detail)
            if replaced is None:
                self.table.reject(obj_id, prompt)
            else:
                self.table.discard_prompts(obj_id)
                self.bring_back(replaced)
        else:
            self._hidden.drop(obj_id)
            self._show(obj_id, result.current)
            self._mark_tracked(known)
            self._check(result.current, frame)

    def pack(self, result: ObjectResult, frame: Frame) -> TrackedObject:
        """Pack an object for the publisher and update its state."""
        known, now_ns = self.table.objects[result.obj_id], frame.stamps.stream_time_ns
        label = known.label
        given = self._given.get(result.obj_id, result)  # an object is visible even if others have all of its pixels
        visible = _is_visible(given)
        state: ObjectState
        state, event = "suspended", None
        if result.obj_id not in self.suspended:
            state, event = self.states.update(result.obj_id, visible, now_ns, given.confidence)
        if event is not None:
            self._events.add(event, frame, obj_id=result.obj_id, label=label)
        if visible and result.area:
            self._events.add_regions(self.regions.update(result, now_ns), label, frame)
        elif event == "object_lost":
            self._events.add_regions(self.regions.forget(result.obj_id, now_ns, "lost"), label, frame)
        if self._latest is not None:
            self._latest.states[result.obj_id] = state
        return pack_object(result, label, state, known.origin)

    # --- prompts ----------------------------------------------------------------------------------------------------

    def add_prompt(self, obj_id: int, label: str, prompt: SavedPrompt, frame_id: int | None) -> PromptResult:
        """Start or correct an object on one of the newest frames. Requires :attr:`latest`.

        Args:
            obj_id: The object.
            label: Its name; empty keeps the name that it has.
            prompt: The prompt.
            frame_id: The frame; None for the newest.

        Raises:
            PromptError: the frame is gone, or the prompt does not fit it.
        """
        assert self._latest is not None
        self._alive()
        built = build_prompt(obj_id, prompt, self._latest.size)
        self._make_room(obj_id)
        result = self._tracker.add_prompt(self.name, built, frame_id)
        self._hidden.drop(obj_id)
        self.table.discard_prompts(obj_id)
        known = self.table.objects.get(obj_id)
        if known is None or not self.table.is_tracked(obj_id):
            known = SavedObject(obj_id, label or (known.label if known else ""), (prompt,))
        else:
            known = _adopted(known.corrected(replace(prompt, restarts=result.restarted)))
            known = replace(known, label=label or known.label)
        self.table.save(known)
        self._mark_tracked(known)
        self._show(obj_id, result.current)
        self._check(result.current)
        if result.restarted:
            detail = "it was not visible, and its memory did not find it where the prompt marked it"
            self._events.add("object_restarted", obj_id=obj_id, label=known.label, detail=detail)
        return replace(result, prompted=cleaned(result.prompted, self.cleanup_px))

    def previews(self, questions: Sequence[Question]) -> list[Preview | PromptError]:
        """Return the masks that :meth:`add_prompt` would give, or why it would refuse. Changes nothing."""
        return [
            answer if isinstance(answer, PromptError) else self._cleaned(answer)
            for answer in self._tracker.previews(self.name, questions)
        ]

    def _cleaned(self, preview: Preview) -> Preview:
        return replace(
            preview,
            prompted=cleaned(preview.prompted, self.cleanup_px),
            candidates=tuple(cleaned(offered, self.cleanup_px) for offered in preview.candidates),
        )

    def check_start(self, obj_id: int, prompt: SavedPrompt, frame_id: int | None) -> None:
        """Check that a prompt starts an object on a frame, even if its id is in use. Changes nothing.

        Raises:
            PromptError: the frame is gone, or the prompt does not fit it or finds nothing on it.
        """
        assert self._latest is not None
        self._alive()
        self._tracker.preview(self.name, build_prompt(obj_id, prompt, self._latest.size), frame_id, fresh=True)

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
        resumed = self._bring_in(obj_id)
        result = self._tracker.undo_prompt(self.name, obj_id)
        if result is None:
            self._forget(obj_id)
            return 0
        if resumed:
            self._events.add("object_resumed", obj_id=obj_id, label=self.table.objects[obj_id].label)
        known = self.table.objects[obj_id]
        known = replace(known, prompts=known.prompts[:-1] or known.prompts)
        self.table.save(known)
        self._show(obj_id, result.current)
        return len(known.prompts)

    # --- found objects ------------------------------------------------------------------------------------------------

    def start_found(
        self,
        mask: BoolMask,
        frame_id: int,
        *,
        label: str,
        origin: Origin,
        accept: Callable[[ObjectResult], bool] = lambda _current: True,
    ) -> int | None:
        """Start an object that was found on one of the newest frames; return its id, or None if it was not accepted.

        Blocks: to prompt that frame and track the object on the newest.

        Args:
            mask: ``bool [height, width]`` of the frame.
            frame_id: The frame.
            label: Its name; may be empty.
            origin: What found it.
            accept: Decides by its mask on the newest frame whether to keep it. If not, nothing has changed.

        Raises:
            FrameExpiredError: the frame is no longer held.
            PromptError: the mask is too small, or there is no room for another object.
        """
        obj_id = self.table.free_id
        result = self._tracker.add_prompt(self.name, Prompt(obj_id, mask=mask), frame_id, catch_up_frames=1)
        if not accept(result.current):
            self._tracker.remove_object(self.name, obj_id)
            return None
        self._hidden.drop(obj_id)
        prompt = SavedPrompt(mask=Rle((mask.shape[0], mask.shape[1]), encode_rle(mask).decode()))
        self.table.save(SavedObject(obj_id, label, (prompt,), origin=origin))
        self._mark_tracked(self.table.objects[obj_id])
        self._show(obj_id, result.current)
        self._events.add("object_found", obj_id=obj_id, label=label, detail=f"on frame {result.frame_id}")
        return obj_id

    def retire(self, obj_id: int, why: str) -> None:
        """Stop tracking an object that was found and is gone."""
        self._events.add("object_retired", obj_id=obj_id, label=self.table.objects[obj_id].label, detail=why)
        self.remove(obj_id)

    def drop_found(self) -> None:
        """Remove the found objects that the tracker lacks: they can be found again."""
        for obj in list(self.table.objects.values()):
            if obj.is_found and not self.table.is_tracked(obj.obj_id):
                self.remove(obj.obj_id)

    # --- objects ----------------------------------------------------------------------------------------------------

    def remove(self, obj_id: int, *, can_undo: bool = False) -> None:
        """Stop tracking an object. Its prompts may still be pending.

        Args:
            obj_id: The object.
            can_undo: The tracker keeps its memory for a minute, so that :meth:`bring_back` finds it.
        """
        obj, tracked = self.table.objects[obj_id], self._has_memory(obj_id)
        self._forget(obj_id)
        if tracked and can_undo:
            self._hidden.hide(obj)
        elif tracked:
            self._tracker.remove_object(self.name, obj_id)

    def bring_back(self, obj: SavedObject) -> None:
        """Follow a removed object again. If its memory is gone, it is prompted on the next tracked frame."""
        if self._latest is None or not self._hidden.take(obj):
            self.replace((), (obj,))
            return
        try:
            result = self._tracker.bring_back(self.name, obj.obj_id)
        except PromptError:  # there is no room for it: its prompts will say so
            self._tracker.drop_aside(self.name, obj.obj_id)
            self.replace((), (obj,))
            return
        self.table.save(obj)
        self._mark_tracked(obj)
        self._show(obj.obj_id, result)

    def label(self, obj_id: int, label: str) -> None:
        """Name an object."""
        self.table.save(replace(_adopted(self.table.objects[obj_id]), label=label))

    def replace(self, removed: Iterable[int], added: Iterable[SavedObject], *, can_undo: bool = False) -> None:
        """Remove objects and start others on the next tracked frame. An added object replaces the one with its id."""
        for obj_id in removed:
            if obj_id in self.table.objects:
                self.remove(obj_id, can_undo=can_undo)
        for obj in added:
            try:
                if obj.obj_id in self.table.objects:
                    self.remove(obj.obj_id, can_undo=can_undo)
            finally:  # if the tracker raises, the stream is opened again with the objects of the table
                self.table.save(obj)
                self.table.add_pending(obj)

    def reset(self, reason: str) -> None:
        """Remove all objects. The tracker keeps their memory for a minute, so that they can come back."""
        announced, tracked = self.announced, [obj for obj in self.table.tracked if self._has_memory(obj.obj_id)]
        self.forget_tracking()
        self.table.clear()
        for obj in tracked:
            self._hidden.hide(obj)
        self.report_reset(announced, reason)

    # --- overload -----------------------------------------------------------------------------------------------------

    def suspend(self, obj_id: int, why: str) -> None:
        """Stop tracking an object for now; the tracker keeps its memory."""
        self._hidden.drop(obj_id)  # of an earlier object with its id: the tracker keeps one memory of an id
        self._tracker.set_aside(self.name, obj_id)
        self.suspended = tuple(known for known in self.table.objects if known in (*self.suspended, obj_id))
        self._replace_result(obj_id, unseen(obj_id, self._size))
        label = self.table.objects[obj_id].label
        self._events.add_regions(self.regions.forget(obj_id, self.stream_time_ns, "lost"), label)
        self._events.add("object_suspended", obj_id=obj_id, label=label, detail=why)

    def resume(self, obj_id: int) -> None:
        """Track a suspended object again, as if no time had passed. Does nothing if it is not suspended."""
        if self._bring_in(obj_id):
            self._events.add("object_resumed", obj_id=obj_id, label=self.table.objects[obj_id].label)

    def _bring_in(self, obj_id: int) -> bool:
        """Resume a suspended object in the tracker; return False if it is not suspended or does not fit."""
        if obj_id not in self.suspended:
            return False
        try:
            result = self._tracker.bring_back(self.name, obj_id)
        except PromptError as error:  # others have taken its room
            log.warning("stream %s: %s", self.name, error)
            return False
        self.suspended = tuple(other for other in self.suspended if other != obj_id)
        self._replace_result(obj_id, result)
        return True

    def resume_all(self) -> None:
        """Track all suspended objects again."""
        for obj_id in self.suspended:
            self.resume(obj_id)

    def _has_memory(self, obj_id: int) -> bool:
        """Return whether the tracker has an object that will be removed. One that cannot be resumed is dropped."""
        self._bring_in(obj_id)
        if obj_id not in self.suspended:
            return self.table.is_tracked(obj_id)
        self._tracker.drop_aside(self.name, obj_id)
        self.suspended = tuple(other for other in self.suspended if other != obj_id)
        return False

    def _make_room(self, obj_id: int) -> None:
        """Prepare for a prompt: resume its object if suspended, and refuse it if suspended ones leave no room."""
        self.resume(obj_id)
        taken = len(self.table.tracked)
        if self.suspended and obj_id not in self.table.objects and taken >= self._max_objects:
            raise PromptError(
                f"object {obj_id}: stream {self.name!r} already has {taken} objects, {len(self.suspended)} of them "
                "suspended: remove one, or raise model.max_objects"
            )

    @property
    def _size(self) -> tuple[int, int]:
        assert self._latest is not None
        return self._latest.size

    # --- lost memory ------------------------------------------------------------------------------------------------

    def forget_tracking(self) -> None:
        """Drop all that depends on the tracker's memory of the objects; the objects stay in the table."""
        self.states.clear()
        self.missing.clear()
        self.suspended = ()
        for event in self.regions.clear(self.stream_time_ns):
            self._events.add_regions([event], self.table.objects[event.obj_id].label)
        self.table.forget_tracking()
        self._given.clear()
        self._outdated = True

    def change_regions(self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig]) -> None:
        """Switch to other zones and lines; objects leave zones that are removed or changed."""
        for event in self.regions.change(zones, lines, self.stream_time_ns):
            known = self.table.objects.get(event.obj_id)
            self._events.add_regions([event], known.label if known else "")

    def tracker_cleared(self) -> None:
        """Drop all that depends on the tracker's memory: the tracker has forgotten the stream."""
        self._hidden.clear()
        self.forget_tracking()

    def start_from_masks(self) -> None:
        """Start the visible objects from their last masks, for a tracker that was cleared.

        The others are lost: something else may be at their last places.
        """
        unseen = self.unseen
        known = {obj_id: self.states.state(obj_id) for obj_id in unseen}
        self.save_masks()
        self.tracker_cleared()
        self.table.reprompt_all()
        for obj_id in sorted(unseen):
            self.lose(obj_id)
            if known[obj_id] != "lost":
                self._events.add("object_lost", obj_id=obj_id, label=self.table.objects[obj_id].label)

    def _check(self, result: ObjectResult, frame: Frame | None = None) -> None:
        """Lose an object whose mask or scores are NaN or infinite, instead of publishing them."""
        if not (result.broken or unusable(result)) or result.obj_id in self.missing:
            return
        obj_id, label = result.obj_id, self.table.objects[result.obj_id].label
        what = "the model's mask or scores are NaN or infinite: its memory was dropped, mark it again"
        log.error("stream %s: object %d: %s", self.name, obj_id, what)
        self._tracker.remove_object(self.name, obj_id)
        self.table.unfollow(obj_id)
        self.lose(obj_id)
        self._given[obj_id] = unseen(obj_id, result.size)
        self._outdated = True
        self._events.add("tracking_failed", frame, obj_id=obj_id, label=label, detail=what)
        self._events.add("object_lost", frame, obj_id=obj_id, label=label)

    def lose(self, obj_id: int) -> None:
        """Set an object to ``lost`` until it is prompted: the tracker has no memory of it."""
        self.table.discard_prompts(obj_id)
        self.missing.add(obj_id)
        self.states.lose(obj_id, self.stream_time_ns)

    def report_reset(self, tracked: Sequence[SavedObject], reason: str, frame: Frame | None = None) -> None:
        """Record a reset of the tracker, and the removal of each tracked object that is not in the table anymore."""
        self._events.add("tracker_reset", frame, detail=reason, objects=[obj.obj_id for obj in tracked])
        for obj in tracked:
            if obj.obj_id not in self.table.objects:
                self._events.add("object_removed", frame, obj_id=obj.obj_id, label=obj.label)

    def save_masks(self, only: Iterable[int] | None = None) -> list[int]:
        """Make visible objects start from their masks when they are next prompted; return their ids.

        Args:
            only: Limit it to these objects; None: all.
        """
        unseen, wanted = self.unseen, set(self._last_seen) if only is None else set(only)
        masks = {
            obj_id: full_rle(seen)
            for obj_id, seen in self._last_seen.items()
            if seen.area and obj_id in wanted and obj_id not in unseen
        }
        self.table.save_masks(masks)
        return list(masks)

    # --- internals --------------------------------------------------------------------------------------------------

    def _show(self, obj_id: int, result: ObjectResult) -> None:
        """Replace an object's result on the newest frame after a prompt changed it."""
        self.results_changed = True
        self._replace_result(obj_id, result)

    def _replace_result(self, obj_id: int, result: ObjectResult) -> None:
        if self._latest is not None:
            self._given[obj_id] = result
            if result.area:
                self._last_seen[obj_id] = result
            self._outdated = True

    def _mark_tracked(self, obj: SavedObject) -> None:
        self.missing.discard(obj.obj_id)
        if self.table.mark_tracked(obj.obj_id):
            self._events.add("object_added", obj_id=obj.obj_id, label=obj.label)

    def _forget(self, obj_id: int) -> None:
        label = self.table.objects[obj_id].label
        tracked = self.table.remove(obj_id) or obj_id in self.missing
        self.missing.discard(obj_id)
        self.states.forget(obj_id)
        self._last_seen.pop(obj_id, None)
        self._given.pop(obj_id, None)
        self._outdated = True
        self._events.add_regions(self.regions.forget(obj_id, self.stream_time_ns, "removed"), label)
        if tracked:
            self._events.add("object_removed", obj_id=obj_id, label=label)


def _adopted(obj: SavedObject) -> SavedObject:
    """Return an object that a user has corrected or named: a found one becomes the user's."""
    return replace(obj, origin="user") if obj.is_found else obj


def _is_visible(result: ObjectResult) -> bool:
    return result.object_score_logits > 0 and result.area > 0
