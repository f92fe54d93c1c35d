"""The newest frames of a stream, so that a prompt can reach the frame that the user saw. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from streamseg.errors import FrameExpiredError, PromptError
from streamseg.frame import Frame

Picture = TypeVar("Picture")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PastFrame(Generic[Picture]):
    """A tracked frame that can still be prompted.

    Attributes:
        frame_id: The frame's own number; has gaps where frames were dropped.
        last_id: Number of the last frame after it that repeats it: shows the same and was not tracked; its own if none
            does.
        number: The tracker's count of the stream's frames; has none.
        size: (width, height) in pixels.
        picture: What the tracker keeps of it.
    """

    frame_id: int
    last_id: int
    number: int
    size: tuple[int, int]
    picture: Picture


class FrameHistory(Generic[Picture]):
    """The newest tracked frames of one stream.

    A new epoch or another size empties it: the source was interrupted, and a mask is not carried over the cut to
    pictures that may show another place. A prompt that comes later belongs to a frame that is gone.

    Args:
        stream: Its id, for messages.
        capacity: Most frames, the newest among them.
    """

    def __init__(self, stream: str, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a history of {capacity} frames: the newest one needs 1")
        self._stream = stream
        self._frames: deque[PastFrame[Picture]] = deque(maxlen=capacity)
        self._epoch = 0

    @property
    def newest(self) -> PastFrame[Picture] | None:
        """The frame that was tracked last; None before the first."""
        return self._frames[-1] if self._frames else None

    def add(self, frame: Frame, number: int, picture: Picture) -> None:
        """Hold a frame that was tracked just now, in place of the oldest.

        Args:
            frame: The frame; its planes are not kept.
            number: The tracker's count.
            picture: What the tracker keeps of it.
        """
        size = (frame.format.width, frame.format.height)
        if self._frames and (frame.epoch != self._epoch or size != self._frames[-1].size):
            self._frames.clear()
        self._epoch = frame.epoch
        self._frames.append(PastFrame(frame.frame_id, frame.frame_id, number, size, picture))

    def repeat(self, frame_id: int) -> None:
        """Take note of a frame that shows what the newest one does: whoever names it means that one.

        A range for each frame that is held, so this takes no room. Frames in between that were dropped, of which nobody
        was sent a picture, belong to it too.

        Args:
            frame_id: The frame; later than all before.

        Raises:
            ValueError: there is no frame that it could repeat.
        """
        if not self._frames:
            raise ValueError(f"frame {frame_id} of stream {self._stream!r} repeats nothing: no frame was tracked yet")
        self._frames[-1] = replace(self._frames[-1], last_id=frame_id)

    def find(self, obj_id: int, frame_id: int | None) -> PastFrame[Picture]:
        """Return the frame that a prompt is meant for: the one named, or the tracked one that it repeats.

        Args:
            obj_id: The prompt's object, for messages.
            frame_id: The frame; None for the newest.

        Raises:
            PromptError: no frame was tracked yet, or this one has not been.
            FrameExpiredError: the frame is no longer held, or was never tracked.
        """
        if not self._frames:
            raise PromptError(
                f"object {obj_id}: stream {self._stream!r} has no frame yet: prompt it after its first frame"
            )
        oldest, newest = self._frames[0], self._frames[-1]
        if frame_id is None:
            return newest
        if frame_id > newest.last_id:
            raise PromptError(
                f"object {obj_id}: frame {frame_id} of stream {self._stream!r} was not tracked yet: the newest is "
                f"{newest.last_id}: prompt a frame that was seen"
            )
        for past in reversed(self._frames):
            if past.frame_id <= frame_id <= past.last_id:
                return past
        if frame_id > oldest.frame_id:
            near = min((past.frame_id for past in self._frames), key=lambda held: abs(held - frame_id))
            raise FrameExpiredError(
                f"object {obj_id}: frame {frame_id} of stream {self._stream!r} was dropped and never tracked; held "
                f"are frames from {oldest.frame_id} to {newest.last_id}: prompt one that has masks, for example {near}"
            )
        raise FrameExpiredError(
            f"object {obj_id}: frame {frame_id} of stream {self._stream!r} is not held: frames {oldest.frame_id} to "
            f"{newest.last_id} are: prompt one of them, or raise model.history_frames"
        )

    def since(self, number: int) -> list[PastFrame[Picture]]:
        """Return the frames from a number on that are held, oldest first; at least the newest if there is one."""
        return [past for past in self._frames if past.number >= number]

    def until(self, number: int) -> list[PastFrame[Picture]]:
        """Return the frames up to a number that are held, newest first."""
        return [past for past in reversed(self._frames) if past.number <= number]


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Choose at most so many items, evenly spaced; the last one is among them.

    Args:
        items: In order.
        most: 1 or more.
    """
    count = min(most, len(items))
    return [items[-(-(place + 1) * len(items) // count) - 1] for place in range(count)]
