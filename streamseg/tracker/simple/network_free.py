"""Base class of trackers without a network: streams, prompts and their limits.

Long, because it implements the whole interface; most methods have a few lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from streamseg.errors import NothingToUndoError, PromptError, StreamsegError
from streamseg.frame import Frame
from streamseg.tracker.found import is_positive
from streamseg.tracker.history import FrameHistory, PastFrame, evenly
from streamseg.tracker.types import (
    Candidate,
    ObjectResult,
    Preview,
    Prompt,
    PromptResult,
    Question,
    StreamMemory,
    check_prompt,
)

View = TypeVar("View")
Target = TypeVar("Target")


@dataclass(slots=True)
class _Seen(Generic[View, Target]):
    """A frame's view, and the objects' targets after it, from which a correction starts."""

    view: View
    targets: dict[int, Target]


@dataclass(slots=True)
class _Stream(Generic[View, Target]):
    """Objects and frames of a stream.

    Attributes:
        history: The newest frames.
        frames: Number of frames so far.
        targets: The objects' current targets.
        undo: By object, for each prompt: the frame's number and the previous target; None if the object is new.
        aside: Set-aside objects: their targets and undo records.
    """

    history: FrameHistory[_Seen[View, Target]]
    frames: int = 0
    targets: dict[int, Target] = field(default_factory=dict)
    undo: dict[int, deque[tuple[int, Target | None]]] = field(default_factory=dict)
    aside: dict[int, tuple[Target, deque[tuple[int, Target | None]]]] = field(default_factory=dict)


class NetworkFreeTracker(ABC, Generic[View, Target]):
    """A :class:`~streamseg.tracker.types.Tracker` that tracks objects one by one, without a network.

    A subclass defines the data of a frame (its *view*) and of an object (its *target*). A shallow copy of a target must
    be independent of the original.

    Args:
        max_objects: Maximum number of objects per stream.
        history_frames: Number of newest frames of a stream that can be prompted.
        catch_up_frames: Maximum number of frames through which a prompt on an older frame is tracked to the newest.
        undo_depth: Maximum number of prompts per object that can be undone.
    """

    def __init__(
        self, max_objects: int = 16, *, history_frames: int = 30, catch_up_frames: int = 4, undo_depth: int = 8
    ) -> None:
        self._max_objects = max_objects
        self._history_frames = history_frames
        self._catch_up_frames = catch_up_frames
        self._undo_depth = undo_depth
        self._streams: dict[str, _Stream[View, Target]] = {}

    @abstractmethod
    def _look(self, frame: Frame) -> View:
        """Return the view of a frame; it must not refer to the frame's planes."""

    @abstractmethod
    def _prompted(self, view: View, prompt: Prompt, size: tuple[int, int], present: Target | None) -> Target:
        """Return a target for a prompt; ``present`` is the current target if this is a correction."""

    @abstractmethod
    def _locate(self, target: Target, view: View, size: tuple[int, int], obj_id: int) -> ObjectResult:
        """Find the object on a frame. Repeated calls with the same view return the same result."""

    @property
    def device(self) -> str:
        """Device for display."""
        return "cpu"

    @property
    def engine(self) -> str:
        """Empty: there is no network."""
        return ""

    @property
    def device_memory_bytes(self) -> int:
        """0: no GPU is used."""
        return 0

    @property
    def recompiles(self) -> int:
        """0: nothing is compiled."""
        return 0

    @property
    def streams_at_once(self) -> int:
        """1: streams share no work."""
        return 1

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Do nothing: there is nothing to warm up."""
        progress("nothing to warm up", 1.0)

    def prepare_smaller_input(self, progress: Callable[[str, float], None]) -> int | None:
        """Return None: there is no network whose input could be smaller."""
        return None

    def choose_input(self, stream: str, *, smaller: bool) -> int | None:
        """Return None: there is no network whose input could be smaller."""
        return None

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects."""
        self._streams[stream] = _Stream(FrameHistory(stream, self._history_frames))

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. Does nothing if it is not open."""
        self._streams.pop(stream, None)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Track the next frame of one or more streams; return their objects' masks, oldest object first.

        Raises:
            StreamsegError: A stream is not open.
        """
        results: dict[str, list[ObjectResult]] = {}
        seen: dict[str, _Seen[View, Target]] = {}
        for name, frame in frames.items():
            if name not in self._streams:
                raise StreamsegError(f"stream {name!r} is not open: call open_stream first")
            size, view = (frame.format.width, frame.format.height), self._look(frame)
            targets = {obj_id: copy(target) for obj_id, target in self._streams[name].targets.items()}
            results[name] = [self._locate(target, view, size, obj_id) for obj_id, target in targets.items()]
            seen[name] = _Seen(view, targets)
        for name, frame in frames.items():  # after everything that can fail, so that a failed call changes nothing
            stream = self._streams[name]
            stream.targets = {obj_id: copy(target) for obj_id, target in seen[name].targets.items()}
            stream.history.add(frame, stream.frames, seen[name])
            stream.frames += 1
        return results

    def repeat(self, stream: str, frame_id: int) -> None:
        """Record a frame that repeats the newest tracked one: prompts on it apply to that one."""
        self._streams[stream].history.repeat(frame_id)

    def find_frame(self, stream: str, frame_id: int | None) -> int:
        """Return the tracked frame that a prompt for a frame applies to: the frame itself, or the one it repeats.

        Raises:
            FrameExpiredError: the frame is no longer held, or was dropped.
            PromptError: no frame was tracked yet, or this one was not.
        """
        return self._streams[stream].history.find(None, frame_id).frame_id

    def hold_frame(self, stream: str, holder: str, frame_id: int | None) -> None:
        """Keep a tracked frame for a holder although newer ones arrive, and release its previous one."""
        self._streams[stream].history.hold(holder, frame_id)

    def candidates(
        self, stream: str, points: Sequence[tuple[float, float]], quality: float | None = None
    ) -> Iterator[Sequence[Candidate]]:
        """Segment points of the newest frame in one step. Without a network every mask is certain."""
        newest = self._streams[stream].history.newest
        if newest is not None:
            yield self._candidates(newest.picture.view, points)

    def _candidates(self, view: View, points: Sequence[tuple[float, float]]) -> list[Candidate]:
        """Return the objects of a frame that contain one of the points, 0..1 of its width and height."""
        return []

    def add_prompt(
        self, stream: str, prompt: Prompt, frame_id: int | None = None, *, catch_up_frames: int | None = None
    ) -> PromptResult:
        """Add an object, or correct one, on the frame that the user saw, and catch up to the newest.

        Raises:
            FrameExpiredError: The frame is no longer held.
            PromptError: The frame was not tracked yet, the stream is full, or the prompt does not fit the frame or
                gives no mask.
        """
        state, past = self._prompted_frame(stream, prompt, frame_id)
        present = self._target_at(state, past, prompt.obj_id)
        target = self._prompted(past.picture.view, prompt, past.size, present)
        self._check_mask(target, past, prompt)
        undo = state.undo.setdefault(prompt.obj_id, deque(maxlen=self._undo_depth))
        undo.append((past.number, copy(present)))
        state.targets[prompt.obj_id] = target
        return self._go_on(state, prompt.obj_id, past, catch_up_frames)

    def preview(
        self,
        stream: str,
        prompt: Prompt,
        frame_id: int | None = None,
        *,
        candidates: bool = False,
        fresh: bool = False,
    ) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame, which is its only candidate.

        Raises:
            PromptError: As :meth:`add_prompt`.
        """
        state, past = self._prompted_frame(stream, prompt, frame_id, fresh=fresh)
        present = None if fresh else self._target_at(state, past, prompt.obj_id)
        target = self._prompted(past.picture.view, prompt, past.size, present)
        result = self._check_mask(target, past, prompt)
        return Preview(past.frame_id, result, (result,) if candidates else ())

    def previews(self, stream: str, questions: Sequence[Question]) -> list[Preview | PromptError]:
        """Return what :meth:`preview` returns or raises for each question."""
        answers: list[Preview | PromptError] = []
        for asked in questions:
            try:
                answers.append(self.preview(stream, asked.prompt, asked.frame_id, candidates=asked.candidates))
            except PromptError as error:
                answers.append(error)
        return answers

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Undo the last prompt of an object and track it again from that frame, or from the oldest held.

        Returns:
            The masks on that frame and on the newest; None if that was its only prompt, which removes the object.

        Raises:
            NothingToUndoError: No prompt is left to undo.
            PromptError: There is no such object.
        """
        state = self._stream_with(stream, obj_id)
        if not state.undo[obj_id]:
            raise NothingToUndoError(
                f"object {obj_id}: nothing to undo: at most the last {self._undo_depth} prompts can be undone, and "
                "none from before its memory was cleared or restored from a snapshot"
            )
        number, before = state.undo[obj_id].pop()
        if before is None:
            self.remove_object(stream, obj_id)
            return None
        state.targets[obj_id] = before
        return self._go_on(state, obj_id, state.history.since(number)[0])

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: There is no such object.
        """
        state = self._stream_with(stream, obj_id)
        del state.targets[obj_id], state.undo[obj_id]
        for past in state.history.since(0):
            past.picture.targets.pop(obj_id, None)

    @property
    def memory_format(self) -> str:
        """The tracker's name: its memory does not depend on settings."""
        return f"{type(self).__name__} 1"

    @abstractmethod
    def _export(self, target: Target) -> dict[str, NDArray[Any]]:
        """Return a target as named arrays."""

    @abstractmethod
    def _import(self, arrays: Mapping[str, NDArray[Any]]) -> Target:
        """Return the target that :meth:`_export` returned as arrays; raise KeyError or ValueError for other arrays."""

    def export_memory(self, stream: str, aside: Iterable[int] = ()) -> StreamMemory:
        """Copy the memory of a stream's objects, and of the given set-aside ones."""
        state = self._streams[stream]
        kept = {obj_id: state.aside[obj_id][0] for obj_id in aside if obj_id in state.aside}
        return StreamMemory(
            state.frames,
            {obj_id: self._export(target) for obj_id, target in (state.targets | kept).items()},
            dict.fromkeys(kept, state.frames),
        )

    def import_memory(self, stream: str, memory: StreamMemory) -> dict[int, str]:
        """Continue objects on a newly opened stream. Set-aside objects stay set aside.

        Returns:
            Object id -> why its memory cannot be used. The stream does not have these objects.

        Raises:
            PromptError: There are more objects than a stream may have.
        """
        count = len(memory.objects.keys() - memory.aside.keys())
        if count > self._max_objects:
            raise PromptError(f"{count} objects, but model.max_objects is {self._max_objects}")
        targets: dict[int, Target] = {}
        refused: dict[int, str] = {}
        for obj_id, arrays in memory.objects.items():
            try:
                targets[obj_id] = self._import(arrays)
            except (KeyError, ValueError) as error:
                refused[obj_id] = f"it does not fit: {type(error).__name__}: {error}"
        state = self._streams[stream]
        state.frames, state.targets = memory.frame, targets
        state.undo = {obj_id: deque(maxlen=self._undo_depth) for obj_id in targets}
        for obj_id in memory.aside:
            if obj_id in targets:
                self.set_aside(stream, obj_id)
        return refused

    def set_aside(self, stream: str, obj_id: int) -> None:
        """Stop tracking an object, but keep its target.

        Raises:
            PromptError: There is no such object.
        """
        state = self._stream_with(stream, obj_id)
        aside = state.targets[obj_id], state.undo[obj_id]
        self.remove_object(stream, obj_id)
        state.aside[obj_id] = aside

    def bring_back(self, stream: str, obj_id: int) -> ObjectResult:
        """Track a set-aside object again; return its mask on the newest frame.

        Raises:
            PromptError: No object with this id was set aside, it is tracked, or the stream is full.
        """
        state = self._streams[stream]
        if obj_id not in state.aside or obj_id in state.targets:
            raise PromptError(f"object {obj_id}: stream {stream!r} has not set it aside, or tracks it")
        if len(state.targets) >= self._max_objects:
            raise PromptError(f"object {obj_id}: stream {stream!r} already has {self._max_objects} objects")
        state.targets[obj_id], state.undo[obj_id] = state.aside.pop(obj_id)
        return self._go_on(state, obj_id, state.history.find(obj_id, None)).current

    def drop_aside(self, stream: str, obj_id: int) -> None:
        """Forget a set-aside object. Does nothing if there is none."""
        state = self._streams.get(stream)
        if state is not None:
            state.aside.pop(obj_id, None)

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its newest frames can still be prompted."""
        state = self._streams.get(stream)
        if state is None:
            return
        for obj_id in tuple(state.targets):
            self.remove_object(stream, obj_id)
        state.aside.clear()

    def _stream_with(self, stream: str, obj_id: int) -> _Stream[View, Target]:
        """Return a stream that has this object, or raise PromptError."""
        state = self._streams.get(stream)
        if state is None or obj_id not in state.targets:
            raise PromptError(f"stream {stream!r} has no object {obj_id}")
        return state

    def _prompted_frame(
        self, stream: str, prompt: Prompt, frame_id: int | None, *, fresh: bool = False
    ) -> tuple[_Stream[View, Target], PastFrame[_Seen[View, Target]]]:
        """Find the frame that a prompt applies to, and refuse a prompt that does not fit it."""
        state = self._streams.get(stream)
        if state is None:
            raise PromptError(f"object {prompt.obj_id}: stream {stream!r} has no frame yet: it is not open")
        is_new = fresh or prompt.obj_id not in state.targets
        past = state.history.find(prompt.obj_id, frame_id, is_new=is_new)
        if is_new and not fresh and len(state.targets) >= self._max_objects:
            raise PromptError(
                f"object {prompt.obj_id}: stream {stream!r} already has {self._max_objects} objects: "
                "remove one, or raise model.max_objects"
            )
        check_prompt(prompt, past.size, is_new=is_new)
        if prompt.candidate:
            raise PromptError(
                f"object {prompt.obj_id}: candidate {prompt.candidate}: this model offers only one mask, 0"
            )
        return state, past

    def _check_mask(self, target: Target, past: PastFrame[_Seen[View, Target]], prompt: Prompt) -> ObjectResult:
        """Return the mask of a prompt on its frame; refuse a positive prompt that gives no mask."""
        result = self._locate(copy(target), past.picture.view, past.size, prompt.obj_id)
        if is_positive(prompt) and not result.area:
            raise PromptError(
                f"object {prompt.obj_id}: the prompt gave no mask on frame {past.frame_id}: mark pixels of the object, "
                "of one color"
            )
        return result

    def _target_at(
        self, state: _Stream[View, Target], past: PastFrame[_Seen[View, Target]], obj_id: int
    ) -> Target | None:
        """Return a copy of an object's target on a frame, or of the current one; None if the object is new."""
        for earlier in state.history.until(past.number):
            if obj_id in earlier.picture.targets:
                return copy(earlier.picture.targets[obj_id])
        return copy(state.targets.get(obj_id))

    def _go_on(
        self,
        state: _Stream[View, Target],
        obj_id: int,
        start: PastFrame[_Seen[View, Target]],
        catch_up_frames: int | None = None,
    ) -> PromptResult:
        """Track one object from a frame through some frames to the newest, and record it on them."""
        later = state.history.since(start.number + 1)
        for past in (start, *later):
            past.picture.targets.pop(obj_id, None)
        target = state.targets[obj_id]
        results = []
        for past in (start, *evenly(later, self._catch_up_frames if catch_up_frames is None else catch_up_frames)):
            results.append(self._locate(target, past.picture.view, past.size, obj_id))
            past.picture.targets[obj_id] = copy(target)
        return PromptResult(start.frame_id, prompted=results[0], current=results[-1])
