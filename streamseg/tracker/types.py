"""What goes into a tracker and what comes out: prompts and masks, independent of the model behind it.

Imports neither torch nor anything of the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

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
        label: 1 for "on the object", 0 for "not on the object".
    """

    x: float
    y: float
    label: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What to segment, on one frame.

    Points and a box may come together; a mask stands alone. On an object that is tracked already, a prompt is a
    correction: points refine the object's present mask.

    Attributes:
        obj_id: The object's permanent id; a new id starts a new object.
        points: Clicks.
        box: (x0, y0, x1, y1) in pixels.
        mask: ``bool [height, width]`` at video resolution.

    Raises:
        PromptError: the id is invalid, or the parts do not go together or are empty.
    """

    obj_id: int
    points: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: BoolMask | None = None

    def __post_init__(self) -> None:
        if problem := prompt_rules.id_problem(self.obj_id):
            raise PromptError(problem)
        _raise_first(self, prompt_rules.part_problems(_plain(self.points), self.box, has_mask=self.mask is not None))


def check_prompt(prompt: Prompt, size: tuple[int, int], *, is_new: bool) -> None:
    """Refuse a prompt that cannot be meant for this frame.

    Args:
        prompt: Of any kind.
        size: (width, height) of the frame in pixels.
        is_new: It starts an object, rather than correcting one.

    Raises:
        PromptError: a point or corner is outside, the mask has another size or type, or a new object has no pixel.
    """
    width, height = size
    points = _plain(prompt.points)
    _raise_first(prompt, prompt_rules.frame_problems(points, prompt.box, size))
    if prompt.mask is not None and (prompt.mask.shape != (height, width) or prompt.mask.dtype != np.bool_):
        raise PromptError(
            f"object {prompt.obj_id}: the mask is {prompt.mask.dtype} {prompt.mask.shape}: "
            f"give bool ({height}, {width}), the frame's height and width"
        )
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
        roi: (x, y, w, h): the mask's bounding box in pixels; (0, 0, 0, 0) if nothing of the object is seen.
        mask: ``bool [roi h, roi w]``: the mask inside ``roi``; everything outside is background.
        area: Pixels of the object.
        centroid: (x, y) mean of its pixel coordinates, (0.0, 0.0) if none.
        iou_prediction: The model's estimate of this mask's IoU.
        object_score_logits: > 0: the model holds the object to be visible.
    """

    obj_id: int
    size: tuple[int, int]
    roi: tuple[int, int, int, int]
    mask: BoolMask
    area: int
    centroid: tuple[float, float]
    iou_prediction: float
    object_score_logits: float

    @property
    def full_mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame; allocated anew at each call."""
        full = np.zeros((self.size[1], self.size[0]), dtype=np.bool_)
        x, y, w, h = self.roi
        full[y : y + h, x : x + w] = self.mask
        return full


@dataclass(frozen=True, slots=True, eq=False)
class PromptResult:
    """What a prompt did.

    Attributes:
        frame_id: The frame that was prompted.
        prompted: The object's mask on that frame.
        current: Its mask on the stream's newest tracked frame, after catching up; the same if that was prompted.
    """

    frame_id: int
    prompted: ObjectResult
    current: ObjectResult


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a prompt would do.

    Attributes:
        frame_id: The frame that would be prompted.
        prompted: The object's mask on that frame.
    """

    frame_id: int
    prompted: ObjectResult


class Tracker(Protocol):
    """Follows objects through one or several streams.

    A stream's frames are given in order to :meth:`track`; a prompt applies to any of the newest frames. Used by one
    thread. State is bounded by construction: ``max_objects`` a stream, fixed memory an object, a number of frames.
    """

    @property
    def device(self) -> str:
        """What the model runs on, for people: ``cpu``, ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
        ...

    @property
    def device_memory_bytes(self) -> int:
        """What this process holds of a GPU's memory; 0 on a CPU."""
        ...

    @property
    def recompiles(self) -> int:
        """Graphs that were compiled after :meth:`warm_up`, and times that all were recorded anew."""
        ...

    @property
    def streams_at_once(self) -> int:
        """How many streams' frames are best given in one call: more would only wait for each other."""
        ...

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Run every path once, so that the first real frame is as fast as the rest.

        Args:
            progress: Called with what is being done and the share done so far (0..1).
        """
        ...

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects."""
        ...

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""
        ...

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Take the next frame of one or more streams and return their objects' masks on it, in order of age.

        All objects of a call go through the model in one batch. The frames' planes are not used after the return.
        """
        ...

    def repeat(self, stream: str, frame_id: int) -> None:
        """Take note of a frame that shows the same as the newest tracked one and is not given to :meth:`track`.

        A prompt that names it applies to that one.
        """
        ...

    def add_prompt(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> PromptResult:
        """Add an object, or correct one, on the frame that the user saw, and catch up to the newest.

        Blocks: for the prompted frame and a few between it and the newest.

        Args:
            stream: The stream.
            prompt: In pixels of that frame.
            frame_id: One of the newest tracked frames, or one that repeats it; None for the newest.

        Raises:
            FrameExpiredError: the frame is no longer held; a new epoch or size of the stream ends all before it.
            PromptError: the frame was not tracked yet, the stream is full, or the prompt does not fit the frame.
        """
        ...

    def preview(self, stream: str, prompt: Prompt, frame_id: int | None = None) -> Preview:
        """Return the mask that :meth:`add_prompt` would give on that frame. Nothing changes.

        Raises:
            PromptError: as :meth:`add_prompt`.
        """
        ...

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """Take back the last prompt of an object, and track it anew from that frame on, or from the oldest held.

        Returns:
            The masks on that frame and on the newest; None if it was the only prompt: the object is gone with it.

        Raises:
            NothingToUndoError: the object's last prompts were taken back already, or are too long ago.
            PromptError: there is no such object.
        """
        ...

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        ...

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its newest frames can still be prompted."""
        ...
