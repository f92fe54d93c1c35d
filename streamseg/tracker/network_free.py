"""What trackers without a network have in common: streams, prompts and their limits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np

from streamseg.errors import PromptError, StreamsegError
from streamseg.frame import Frame
from streamseg.tracker.types import BoolMask, ObjectResult, Prompt, check_prompt

View = TypeVar("View")
Follower = TypeVar("Follower")

_DISC_RADIUS: Final = 0.03
"""Radius of a click's disc as a share of the frame's shorter side."""


@dataclass(slots=True)
class _Stream(Generic[View, Follower]):
    view: View | None = None
    size: tuple[int, int] = (0, 0)
    followers: dict[int, Follower] = field(default_factory=dict)


class NetworkFreeTracker(ABC, Generic[View, Follower]):
    """A :class:`~streamseg.tracker.types.Tracker` whose objects are followed one by one, without a network.

    A subclass says what it keeps of a frame (its *view*) and of an object (its *follower*).

    Args:
        max_objects: Most objects a stream.
    """

    def __init__(self, max_objects: int = 16) -> None:
        self._max_objects = max_objects
        self._streams: dict[str, _Stream[View, Follower]] = {}

    @abstractmethod
    def _look(self, frame: Frame) -> View:
        """Return what is needed of a frame; it must not refer to the frame's planes."""

    @abstractmethod
    def _prompted(self, view: View, prompt: Prompt, size: tuple[int, int], present: Follower | None) -> Follower:
        """Return a follower for a prompt; ``present`` follows the object so far if this is a correction."""

    @abstractmethod
    def _follow(self, follower: Follower, view: View, size: tuple[int, int], obj_id: int) -> ObjectResult:
        """Find the object on a frame. Called again with the same view, it returns the same."""

    @property
    def device(self) -> str:
        """What it runs on."""
        return "cpu"

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Nothing needs warming up."""
        progress("nothing to warm up", 1.0)

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects."""
        self._streams[stream] = _Stream()

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. A stream that is not open is left alone."""
        self._streams.pop(stream, None)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Take the next frame of one or more streams and return their objects' masks on it, in order of age.

        Raises:
            StreamsegError: a stream is not open.
        """
        results = {}
        for name, frame in frames.items():
            if name not in self._streams:
                raise StreamsegError(f"stream {name!r} is not open: call open_stream first")
            stream = self._streams[name]
            stream.size = (frame.format.width, frame.format.height)
            stream.view = self._look(frame)
            results[name] = [
                self._follow(follower, stream.view, stream.size, obj_id)
                for obj_id, follower in stream.followers.items()
            ]
        return results

    def add_prompt(self, stream: str, prompt: Prompt) -> ObjectResult:
        """Add an object, or correct one, on the stream's last tracked frame.

        Raises:
            PromptError: no frame was tracked yet, the stream is full, the mask's size is wrong, or a point is outside.
        """
        state = self._streams.get(stream)
        if state is None or state.view is None:
            raise PromptError(f"object {prompt.obj_id}: stream {stream!r} has no frame yet: prompt it after its first")
        present = state.followers.get(prompt.obj_id)
        if present is None and len(state.followers) >= self._max_objects:
            raise PromptError(
                f"object {prompt.obj_id}: stream {stream!r} has {self._max_objects} objects already: "
                "remove one, or raise model.max_objects"
            )
        check_prompt(prompt, state.size, is_new=present is None)
        follower = self._prompted(state.view, prompt, state.size, present)
        state.followers[prompt.obj_id] = follower
        return self._follow(follower, state.view, state.size, prompt.obj_id)

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        state = self._streams.get(stream)
        if state is None or state.followers.pop(obj_id, None) is None:
            raise PromptError(f"stream {stream!r} has no object {obj_id}")

    def reset(self, stream: str) -> None:
        """Forget all objects and the last frame of a stream."""
        if stream in self._streams:
            self._streams[stream] = _Stream()


def prompt_mask(prompt: Prompt, size: tuple[int, int], present: BoolMask | None = None) -> BoolMask:
    """Draw a prompt: its mask, or its box and a small disc for each click.

    Args:
        prompt: What to draw.
        size: (width, height) of the frame.
        present: ``bool [height, width]``: the mask that clicks alone correct; clicks off the object cut discs out.

    Returns:
        ``bool [height, width]`` of its own memory.
    """
    width, height = size
    if prompt.mask is not None:
        return prompt.mask.copy()
    if prompt.box is not None:
        mask = np.zeros((height, width), dtype=np.bool_)
        x0, y0, x1, y1 = prompt.box
        mask[max(math.floor(y0), 0) : math.ceil(y1), max(math.floor(x0), 0) : math.ceil(x1)] = True
    else:
        mask = np.zeros((height, width), dtype=np.bool_) if present is None else present.copy()
    rows, columns = np.ogrid[:height, :width]
    radius = max(_DISC_RADIUS * min(size), 2.0)
    for point in prompt.points:
        mask[(columns - point.x) ** 2 + (rows - point.y) ** 2 <= radius**2] = point.label == 1
    return mask
