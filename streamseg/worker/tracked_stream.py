"""One stream inside the worker: its prompts, its objects' states, and what a new epoch means for them.

What it follows is written down as it changes (:meth:`TrackedStream.take_saved`), so that the next worker can follow it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.ipc.messages import StreamEvent, TrackedFrame, TrackedObject
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream, configured, normalize_prompt
from streamseg.protocol.published import EventKind, ObjectState
from streamseg.tracker.types import ObjectResult, Preview, PromptResult, Tracker
from streamseg.worker.object_states import ObjectStates
from streamseg.worker.prompts import build_prompt
from streamseg.worker.static_frames import StaticFrames

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Latest:
    """The newest tracked frame. Those that repeat its masks leave it in place: a prompt means it, not them.

    Attributes:
        frame_id: Its number.
        epoch: Of the stream.
        size: (width, height) in pixels.
        t_wall_ns: When it was captured.
        results: Id -> object on it, oldest first.
        states: Id -> its state.
    """

    frame_id: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: int
    results: dict[int, ObjectResult]
    states: dict[int, ObjectState]


class TrackedStream:
    """Applies a stream's prompts and policy to the tracker, frame by frame.

    Args:
        stream: Its id.
        config: Its settings.
        tracker: Shared by all streams; the stream is opened on it.
        saved: What a worker before this one followed; None to begin with the configured prompts.
        memory_lost: A worker before this one tracked the stream. Objects cannot be kept without its memory: they
            are prompted anew, or forgotten if that is the stream's policy.

    Attributes:
        config: Its settings.
        objects: Id -> object that it is to follow, oldest first.
        paused: Its frames are not tracked.
        tracked: Frames tracked so far.
        repeated: Frames so far that were not tracked, since they showed the same as the last one that was.
        latest: The newest tracked frame; None before the first.
    """

    def __init__(
        self,
        stream: str,
        config: StreamConfig,
        tracker: Tracker,
        *,
        saved: SavedStream | None = None,
        memory_lost: bool = False,
    ) -> None:
        saved = configured(config.prompts) if saved is None else saved
        self.stream = stream
        self.config = config
        self.tracked = self.repeated = 0
        self.paused = saved.paused
        self.latest: Latest | None = None
        self._tracker = tracker
        self._states = ObjectStates(int(config.lost_after_s * 1e9))
        self._memory_lost = memory_lost
        forget = memory_lost and config.on_discontinuity == "reset"
        self.objects = {} if forget else {obj.obj_id: obj for obj in saved.objects}
        self._next_id = saved.next_id
        self._changed = forget
        self._waiting = self._all_prompts()
        self._rejected: list[tuple[int, SavedPrompt]] = []
        self._followed: set[int] = set()
        self._epoch: int | None = None
        self._static = StaticFrames()
        self._repeats: int | None = None
        self._events: list[StreamEvent] = []
        tracker.open_stream(stream)

    # --- frame by frame ---------------------------------------------------------------------------------------------

    def begin_frame(self, frame: Frame) -> bool:
        """Do what must come before a frame is tracked: a new epoch may reset the stream.

        Returns:
            Whether to track it, and then to call :meth:`finish_frame`; if not, :meth:`skip_frame`.
        """
        if self._memory_lost:
            self._memory_lost = False
            self._event("tracker_reset", frame, detail="the worker was restarted and has no memory of what came before")
        if self._epoch is not None and frame.epoch != self._epoch:
            self._on_discontinuity(frame)
        self._epoch = frame.epoch
        self._repeats = self.latest.frame_id if self.latest is not None and self._is_static(frame) else None
        return not self.paused and self._repeats is None

    def skip_frame(self, frame: Frame) -> list[ObjectResult]:
        """Take a frame that is not tracked.

        Returns:
            What is known of its objects: nothing while paused, else the results of the frame that it repeats.
        """
        if self.paused or self.latest is None:
            return []
        self.repeated += 1
        self._tracker.repeat(self.stream, frame.frame_id)
        return list(self.latest.results.values())

    def finish_frame(self, frame: Frame, results: list[ObjectResult]) -> list[ObjectResult]:
        """Apply the prompts that wait for this frame, after it was tracked.

        Returns:
            The frame's results with those of the prompts.
        """
        self.tracked += 1
        if self.config.repeat_static:
            self._static.tracked(frame, _stream_time_ns(frame))
        self.latest = Latest(
            frame.frame_id,
            frame.epoch,
            (frame.format.width, frame.format.height),
            frame.stamps.t_wall_ns,
            {result.obj_id: result for result in results},
            {},
        )
        waiting, self._waiting = self._waiting, []
        for obj_id, prompt in waiting:
            self._apply(obj_id, prompt, frame)
        return list(self.latest.results.values())

    def message(
        self, frame: Frame, results: Iterable[ObjectResult], t_tracked_ns: int, dropped: int, slot: int
    ) -> TrackedFrame:
        """Pack a frame's results for the publisher, and note changes of its objects' states."""
        stamps, size = frame.stamps, (frame.format.width, frame.format.height)
        return TrackedFrame(
            stream=self.stream,
            frame_id=frame.frame_id,
            epoch=frame.epoch,
            size=size,
            t_wall_ns=stamps.t_wall_ns,
            t_source=stamps.t_source,
            t_captured_ns=stamps.t_captured_ns,
            t_decoded_ns=stamps.t_decoded_ns,
            t_tracked_ns=t_tracked_ns,
            pts=stamps.pts,
            time_base=stamps.time_base,
            dropped=dropped,
            slot=slot,
            objects=[self._pack(result, frame) for result in results],
            paused=self.paused,
            repeats=self._repeats,
        )

    def take_events(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def take_saved(self) -> SavedStream | None:
        """Return what it would take to follow the objects again, if that has changed since the last call."""
        if not self._changed:
            return None
        self._changed = False
        return SavedStream(tuple(self.objects.values()), self._next_id, self.paused)

    # --- on demand --------------------------------------------------------------------------------------------------

    @property
    def free_id(self) -> int:
        """An id that no object of this stream has had."""
        return self._next_id

    def is_followed(self, obj_id: int) -> bool:
        """Whether the tracker has the object; one whose prompt waits or was rejected it has not."""
        return obj_id in self._followed

    def add_prompt(self, obj_id: int, label: str, prompt: SavedPrompt, frame_id: int | None) -> PromptResult:
        """Start or correct an object, on one of the newest frames; there must be a newest frame.

        Raises:
            PromptError: the frame is gone, or the prompt does not fit it.
        """
        assert self.latest is not None
        result = self._tracker.add_prompt(self.stream, build_prompt(obj_id, prompt, self.latest.size), frame_id)
        self._static.unsettle()
        self._waiting = [entry for entry in self._waiting if entry[0] != obj_id]
        self._rejected = [entry for entry in self._rejected if entry[0] != obj_id]
        known = self.objects.get(obj_id)
        if known is None or obj_id not in self._followed:
            known = SavedObject(obj_id, label or (known.label if known else ""), (prompt,))
        else:
            known = replace(known.corrected(prompt), label=label or known.label)
        self._keep(known)
        self._now_followed(known)
        self.latest.results[obj_id] = result.current
        return result

    def preview(self, obj_id: int, prompt: SavedPrompt, frame_id: int | None) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame; nothing changes.

        Raises:
            PromptError: as :meth:`add_prompt`.
        """
        assert self.latest is not None
        return self._tracker.preview(self.stream, build_prompt(obj_id, prompt, self.latest.size), frame_id)

    def undo_prompt(self, obj_id: int) -> int:
        """Take an object's last prompt back.

        Returns:
            How many it has left; 0: the object is gone.

        Raises:
            NothingToUndoError: there is none that could be taken back.
        """
        result = self._tracker.undo_prompt(self.stream, obj_id)
        if result is None:
            self._forget(obj_id)
            return 0
        self._static.unsettle()
        known = self.objects[obj_id]
        self._keep(replace(known, prompts=known.prompts[:-1] or known.prompts))
        if self.latest is not None:
            self.latest.results[obj_id] = result.current
        return len(self.objects[obj_id].prompts)

    def remove_object(self, obj_id: int) -> None:
        """Follow an object no longer. Its prompts may still wait."""
        if obj_id in self._followed:
            self._tracker.remove_object(self.stream, obj_id)
        self._forget(obj_id)

    def label_object(self, obj_id: int, label: str) -> None:
        """Name an object."""
        self._keep(replace(self.objects[obj_id], label=label))

    def replace_objects(self, removed: Iterable[int], added: Iterable[SavedObject]) -> None:
        """Remove objects, and start others on the next frame that is tracked, in the place of what had their id."""
        for obj_id in removed:
            if obj_id in self.objects:
                self.remove_object(obj_id)
        for obj in added:
            if obj.obj_id in self.objects:
                self.remove_object(obj.obj_id)
            self._keep(obj)
            self._waiting += [(obj.obj_id, prompt) for prompt in obj.prompts]

    def change(self, config: StreamConfig, removed: Iterable[int], prompts: Iterable[PromptConfig]) -> None:
        """Take other settings, of which these prompts differ."""
        self.config = config
        if not config.repeat_static:
            self._static.forget()
        self._states.lost_after_ns = int(config.lost_after_s * 1e9)
        self.replace_objects(removed, (SavedObject(one.object, one.label, (normalize_prompt(one),)) for one in prompts))

    def reset(self, why: str) -> None:
        """Forget all objects."""
        self._tracker.reset(self.stream)
        self._clear()
        self.objects.clear()
        self._changed = True
        self._event("tracker_reset", detail=why)

    def pause(self, paused: bool) -> None:
        """Stop tracking, or go on."""
        self._changed |= paused != self.paused
        self.paused = paused
        self._static.forget()  # whoever resumes wants to see what is there now

    def close(self) -> None:
        """Give the tracker's part back."""
        self._tracker.close_stream(self.stream)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _all_prompts(self) -> list[tuple[int, SavedPrompt]]:
        return [(obj.obj_id, prompt) for obj in self.objects.values() for prompt in obj.prompts]

    def _is_static(self, frame: Frame) -> bool:
        """Whether the frame's masks are those of the newest tracked one.

        Prompts that wait need a frame that is tracked. Those that were applied have changed the results of the newest,
        and masks settle anew.
        """
        if not self.config.repeat_static or self.paused or self._waiting:
            return False
        return self._static.unchanged(frame, _stream_time_ns(frame))

    def _on_discontinuity(self, frame: Frame) -> None:
        policy = self.config.on_discontinuity
        if policy == "keep":
            self._waiting, self._rejected = self._rejected, []  # they may fit the new size
            return
        self._tracker.reset(self.stream)
        self._clear()
        if policy == "reset":
            self._changed |= bool(self.objects)
            self.objects.clear()
        self._waiting = self._all_prompts()
        self._event("tracker_reset", frame, detail=f"epoch {frame.epoch} began and on_discontinuity is {policy}")

    def _clear(self) -> None:
        self._static.forget()
        self._states.clear()
        self._followed.clear()
        self._waiting.clear()
        self._rejected.clear()
        if self.latest is not None:
            self.latest.results.clear()

    def _apply(self, obj_id: int, prompt: SavedPrompt, frame: Frame) -> None:
        assert self.latest is not None
        known = self.objects[obj_id]
        try:
            built = build_prompt(obj_id, prompt, self.latest.size)
            self.latest.results[obj_id] = self._tracker.add_prompt(self.stream, built).current
        except PromptError as error:
            self._rejected.append((obj_id, prompt))
            log.error("stream %s: %s", self.stream, error)
            self._event("prompt_rejected", frame, obj_id=obj_id, label=known.label, detail=str(error))
        else:
            self._static.unsettle()
            self._now_followed(known)

    def _now_followed(self, obj: SavedObject) -> None:
        if obj.obj_id not in self._followed:
            self._followed.add(obj.obj_id)
            self._event("object_added", obj_id=obj.obj_id, label=obj.label)

    def _keep(self, obj: SavedObject) -> None:
        self.objects[obj.obj_id] = obj
        self._next_id = max(self._next_id, obj.obj_id + 1)
        self._changed = True

    def _forget(self, obj_id: int) -> None:
        obj = self.objects.pop(obj_id)
        self._changed = True
        self._waiting = [entry for entry in self._waiting if entry[0] != obj_id]
        self._rejected = [entry for entry in self._rejected if entry[0] != obj_id]
        self._states.forget(obj_id)
        if self.latest is not None:
            self.latest.results.pop(obj_id, None)
        if obj_id in self._followed:
            self._followed.remove(obj_id)
            self._event("object_removed", obj_id=obj_id, label=obj.label)

    def _pack(self, result: ObjectResult, frame: Frame) -> TrackedObject:
        label = self.objects[result.obj_id].label
        visible = result.object_score_logits > 0 and result.area > 0
        state, event = self._states.update(result.obj_id, visible, _stream_time_ns(frame))
        if event is not None:
            self._event(event, frame, obj_id=result.obj_id, label=label)
        if self.latest is not None:
            self.latest.states[result.obj_id] = state
        return TrackedObject(
            obj_id=result.obj_id,
            label=label,
            state=state,
            iou_prediction=result.iou_prediction,
            object_score_logits=result.object_score_logits,
            roi=result.roi,
            area=result.area,
            centroid=result.centroid,
            bits=np.packbits(result.mask, axis=1).tobytes(),
        )

    def _event(
        self,
        kind: EventKind,
        frame: Frame | None = None,
        *,
        obj_id: int | None = None,
        label: str = "",
        detail: str = "",
    ) -> None:
        """Note an event of a frame; of the newest one, and of now, without ``frame``."""
        latest = self.latest
        self._events.append(
            StreamEvent(
                stream=self.stream,
                kind=kind,
                t_wall_ns=frame.stamps.t_wall_ns if frame else time.time_ns(),
                epoch=frame.epoch if frame else latest.epoch if latest else 0,
                frame_id=frame.frame_id if frame else latest.frame_id if latest else None,
                obj_id=obj_id,
                label=label,
                detail=detail,
            )
        )


def _stream_time_ns(frame: Frame) -> int:
    """A file's own time (it may be read faster than it plays), otherwise when the frame was captured."""
    stamps = frame.stamps
    if stamps.t_source == "file" and stamps.pts is not None:
        numerator, denominator = stamps.time_base
        return stamps.pts * numerator * 1_000_000_000 // denominator
    return stamps.t_captured_ns
