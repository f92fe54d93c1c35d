"""A tracker's inputs and outputs: prompts and masks, independent of the model.

Imports neither torch nor any part of the service. Records and interface are in one file, since both are needed to write
a tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.protocol import prompt_rules
from streamseg.protocol.prompt_rules import PromptProblem

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Point:
    """A click.

    Attributes:
        x: Pixels of the video frame, from the left.
        y: Pixels, from the top.
        label: 1 is on the object (positive), 0 is off it (negative).
    """

    x: float
    y: float
    label: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What to segment, on one frame.

    Points and a box may be combined; a mask may not. On an object that is already tracked, a prompt is a correction:
    points refine the object's current mask.

    Attributes:
        obj_id: The object's permanent id; a new id starts a new object.
        points: Clicks.
        box: (x0, y0, x1, y1) in pixels.
        mask: ``bool [height, width]`` at video resolution.
        candidate: Which of the masks of an ambiguous click to take, 0 is the best (:attr:`Preview.candidates`); None
            leaves the choice to the model.

    Raises:
        PromptError: The id is invalid, or the parts cannot be combined, or there are none.
    """

    obj_id: int
    points: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: BoolMask | None = None
    candidate: int | None = None

    def __post_init__(self) -> None:
        if problem := prompt_rules.id_problem(self.obj_id):
            raise PromptError(problem)
        _raise_first(self, prompt_rules.part_problems(_plain(self.points), self.box, has_mask=self.mask is not None))


def check_prompt(prompt: Prompt, size: tuple[int, int], *, is_new: bool) -> None:
    """Refuse a prompt that does not fit a frame.

    Args:
        prompt: The prompt.
        size: (width, height) of the frame in pixels.
        is_new: Whether it starts an object instead of correcting one.

    Raises:
        PromptError: A point or corner is outside the frame, the mask has the wrong size or type, or a new object has no
            pixel.
    """
    width, height = size
    points = _plain(prompt.points)
    _raise_first(prompt, prompt_rules.frame_problems(points, prompt.box, size))
    if prompt.mask is not None and (prompt.mask.shape != (height, width) or prompt.mask.dtype != np.bool_):
        raise PromptError(
            f"object {prompt.obj_id}: the mask is {prompt.mask.dtype} {prompt.mask.shape}: "
            f"expected bool ({height}, {width}), the frame's height and width"
        )
    if prompt.candidate is not None and (prompt.mask is not None or prompt.box is not None):
        raise PromptError(f"object {prompt.obj_id}: candidate chooses between masks of clicks: leave out box and mask")
    if not is_new:
        return
    if prompt.mask is not None and not prompt.mask.any():
        raise PromptError(f"object {prompt.obj_id}: the mask is empty: a new object needs some pixels")
    _raise_first(prompt, prompt_rules.start_problems(points, prompt.box))


def _plain(points: tuple[Point, ...]) -> tuple[tuple[float, float, int], ...]:
    return tuple((point.x, point.y, point.label) for point in points)


def _raise_first(prompt: Prompt, problems: Iterable[PromptProblem]) -> None:
    for problem in problems:
        raise PromptError(f"object {prompt.obj_id}: {problem.message}")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectResult:
    """One object on one frame.

    Attributes:
        obj_id: The object's id.
        size: (width, height) of the video frame in pixels.
        roi: (x, y, w, h): the mask's bounding box in pixels; (0, 0, 0, 0) if the mask is empty.
        mask: ``bool [roi h, roi w]``: the mask inside ``roi``; all other pixels are background.
        area: Number of the object's pixels.
        centroid: (x, y) mean of its pixel coordinates; (0.0, 0.0) if the mask is empty.
        iou_prediction: The model's estimate of this mask's IoU.
        object_score_logits: > 0: the model considers the object visible.
        confidence: Probability that this mask's IoU is above 0.5; None if the model has no such score.
        broken: Whether the model's mask or scores were NaN or infinite. If so, the tracker has forgotten the object,
            which is not visible until it is prompted.
    """

    obj_id: int
    size: tuple[int, int]
    roi: tuple[int, int, int, int]
    mask: BoolMask
    area: int
    centroid: tuple[float, float]
    iou_prediction: float
    object_score_logits: float
    confidence: float | None = None
    broken: bool = False

    @property
    def full_mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame; a new array at each call."""
        full = np.zeros((self.size[1], self.size[0]), dtype=np.bool_)
        x, y, w, h = self.roi
        full[y : y + h, x : x + w] = self.mask
        return full


@dataclass(frozen=True, slots=True, eq=False)
class PromptResult:
    """The result of a prompt.

    Attributes:
        frame_id: The frame that was prompted.
        prompted: The object's mask on that frame.
        current: Its mask on the newest tracked frame, after catching up; ``prompted`` if that is the prompted frame.
        restarted: The object was not visible and its memory did not find it at the marked place, so it started again
            from this prompt alone.
    """

    frame_id: int
    prompted: ObjectResult
    current: ObjectResult
    restarted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """The question of one of several previews.

    Attributes:
        prompt: The prompt.
        frame_id: Its frame, as in :meth:`Tracker.add_prompt`.
        candidates: Whether to return the masks that an ambiguous click can mean, too.
    """

    prompt: Prompt
    frame_id: int | None = None
    candidates: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """The result that a prompt would have.

    Attributes:
        frame_id: The frame that would be prompted.
        prompted: The object's mask on that frame.
        candidates: The masks that an ambiguous click can mean, best first. ``Prompt.candidate`` chooses one of them.
        restarted: As in :class:`PromptResult`.
    """

    frame_id: int
    prompted: ObjectResult
    candidates: tuple[ObjectResult, ...] = ()
    restarted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class StreamMemory:
    """A tracker's memory of a stream's objects as plain arrays, to be stored and imported elsewhere.

    Attributes:
        frame: The tracker's count of the stream's frames.
        objects: Object id -> named arrays, oldest object first.
        aside: Ids of set-aside objects -> the tracker's count of the stream's frames at that time.
    """

    frame: int
    objects: Mapping[int, Mapping[str, NDArray[Any]]]
    aside: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A candidate mask for a point of a frame.

    Attributes:
        logits: ``float32 [h, w]`` of the whole frame, at the tracker's low resolution; object where > 0.
        iou_prediction: The model's estimate of the mask's IoU.
        stability: Share of the mask's area that remains when the threshold rises, 0..1.
    """

    logits: NDArray[np.float32]
    iou_prediction: float
    stability: float = 1.0

    def full_mask(self, size: tuple[int, int]) -> BoolMask:
        """Return ``bool [height, width]`` at a frame's (width, height)."""
        if (self.logits.shape[1], self.logits.shape[0]) == size:
            return self.logits > 0
        return np.asarray(cv2.resize(self.logits, size, interpolation=cv2.INTER_LINEAR)) > 0


class Tracker(Protocol):
    """Tracks objects through one or more streams.

    Pass a stream's frames to :meth:`track` in order; a prompt may apply to any of the newest frames. Not thread-safe.
    State is bounded: ``max_objects`` per stream, fixed memory per object, a fixed number of frames.
    """

    @property
    def device(self) -> str:
        """Device of the model, for display: ``cpu``, ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
        ...

    @property
    def engine(self) -> str:
        """Engine of the model, for display: ``eager``, ``eager (converting 40 %)``, ``openvino``, ``compiled``.

        Empty for a tracker without a network.
        """
        ...

    @property
    def device_memory_bytes(self) -> int:
        """GPU memory that this process holds; 0 on a CPU."""
        ...

    @property
    def recompiles(self) -> int:
        """Graphs compiled after :meth:`warm_up`, plus how often all graphs were recorded again."""
        ...

    @property
    def memory_format(self) -> str:
        """Name of the weights and all settings that memory depends on: memory is exchangeable only if equal."""
        ...

    @property
    def streams_at_once(self) -> int:
        """Number of streams to pass in one call: more would only wait for each other."""
        ...

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Run every path once, so that the first real frame is as fast as the others.

        Args:
            progress: Called with the current step and the share that is done (0..1).
        """
        ...

    def prepare_smaller_input(self, progress: Callable[[str, float], None]) -> int | None:
        """Prepare a smaller model input for streams; the second call does nothing.

        Blocks: as :meth:`warm_up`.

        Args:
            progress: As for :meth:`warm_up`.

        Returns:
            The input's side in pixels; None if there is no smaller one.
        """
        ...

    def choose_input(self, stream: str, *, smaller: bool) -> int | None:
        """Track an open stream with the smaller or the full model input, from its next frame on.

        Objects continue, even if hidden or set aside, but prompts from before the change cannot be undone. After an
        exception the stream is unchanged.

        Returns:
            The input's side in pixels; None if there is no smaller one, or it is not prepared.
        """
        ...

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects, with the full model input."""
        ...

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. Does nothing if it is not open."""
        ...

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Track the next frame of one or more streams; return their objects' masks, oldest object first.

        All objects of a call go through the model in one batch. The frames' planes are not used after this returns.
        After an exception all streams of the call are unchanged, and can be tracked again.
        """
        ...

    def repeat(self, stream: str, frame_id: int) -> None:
        """Record a frame that repeats the newest tracked one and is not passed to :meth:`track`.

        A prompt on it applies to the tracked one.
        """
        ...

    def find_frame(self, stream: str, frame_id: int | None) -> int:
        """Return the tracked frame that a prompt for a frame applies to: the frame itself, or the one it repeats.

        Raises:
            FrameExpiredError: the frame is no longer held, or was dropped.
            PromptError: no frame was tracked yet, or this one was not.
        """
        ...

    def hold_frame(self, stream: str, holder: str, frame_id: int | None) -> None:
        """Keep a tracked frame for a holder although newer ones arrive, and release its previous one.

        New objects can start on it: :meth:`add_prompt`, and :meth:`preview` with ``fresh``. A new epoch or size of the
        stream releases it.

        Args:
            stream: The stream.
            holder: Its name. Each holder keeps at most one frame.
            frame_id: One of the newest tracked frames; None: release.
        """
        ...

    def candidates(
        self, stream: str, points: Sequence[tuple[float, float]], quality: float | None = None
    ) -> Iterator[Sequence[Candidate]]:
        """Segment points of the newest tracked frame, piece by piece; changes nothing.

        Each step of the iterator is a small piece of work, much shorter than tracking a frame, and yields its masks.
        Frames can be tracked between the steps; the masks are still of the first frame. An unfinished iterator can be
        dropped.

        Args:
            stream: The stream. It has a tracked frame.
            points: x, y as fractions of the frame's width and height.
            quality: Minimum predicted IoU; None: the model's own threshold.
        """
        ...

    def add_prompt(
        self, stream: str, prompt: Prompt, frame_id: int | None = None, *, catch_up_frames: int | None = None
    ) -> PromptResult:
        """Add an object, or correct one, on the frame that the user saw, and catch up to the newest.

        Blocks: to track the prompted frame and some of the frames up to the newest.

        A positive mark on an object that is not visible brings it back: if its memory does not find it there, it
        starts again from the prompt alone, and :meth:`undo_prompt` restores the memory.

        Args:
            stream: The stream.
            prompt: The prompt, in pixels of that frame.
            frame_id: One of the newest tracked frames, or one that repeats it; None for the newest.
            catch_up_frames: Maximum number of frames through which the object is tracked to the newest; None: the
                tracker's own limit.

        Raises:
            FrameExpiredError: The frame is no longer held. A new epoch or size of the stream expires all older frames.
            PromptError: The frame was not tracked yet, the stream is full, or the prompt does not fit the frame, or
                it gives no mask, or one far smaller than was marked.
        """
        ...

    def preview(
        self,
        stream: str,
        prompt: Prompt,
        frame_id: int | None = None,
        *,
        candidates: bool = False,
        fresh: bool = False,
    ) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame, without changing anything.

        Args:
            stream: The stream.
            prompt: As in :meth:`add_prompt`.
            frame_id: As in :meth:`add_prompt`.
            candidates: Also return the masks that an ambiguous click can mean.
            fresh: As if there were no object with that id, and room for one more.

        Raises:
            PromptError: As :meth:`add_prompt`.
        """
        ...

    def previews(self, stream: str, questions: Sequence[Question]) -> list[Preview | PromptError]:
        """Return what :meth:`preview` returns or raises for each question. Faster than separate calls."""
        ...

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Undo the last prompt of an object and track it again from that frame, or from the oldest held.

        Returns:
            The masks on that frame and on the newest; None if that was its only prompt, which removes the object.

        Raises:
            NothingToUndoError: No prompt is left to undo.
            PromptError: There is no such object.
        """
        ...

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: There is no such object.
        """
        ...

    def export_memory(self, stream: str, aside: Iterable[int] = ()) -> StreamMemory:
        """Copy the memory of a stream's objects, without undo records and older frames.

        Args:
            stream: The stream.
            aside: Ids of set-aside objects to export, too.
        """
        ...

    def import_memory(self, stream: str, memory: StreamMemory) -> dict[int, str]:
        """Continue objects on a newly opened stream. Set-aside objects stay set aside.

        Returns:
            Object id -> why its memory cannot be used. The stream does not have these objects.

        Raises:
            PromptError: There are more objects than a stream may have.
        """
        ...

    def set_aside(self, stream: str, obj_id: int) -> None:
        """Stop tracking an object, but keep its memory. Its id can be given to another object in the meantime.

        The object does not count towards ``max_objects``. An earlier set-aside object with its id is dropped.

        Raises:
            PromptError: There is no such object.
        """
        ...

    def bring_back(self, stream: str, obj_id: int) -> ObjectResult:
        """Track a set-aside object again, as if no time had passed; return its mask on the newest frame.

        Raises:
            PromptError: No object with this id was set aside, it is tracked, or the stream is full.
        """
        ...

    def drop_aside(self, stream: str, obj_id: int) -> None:
        """Free the memory of a set-aside object. Does nothing if there is none."""
        ...

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its newest frames can still be prompted."""
        ...
