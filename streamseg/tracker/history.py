"""Keeps the newest frames of a stream, so that a prompt can apply to the frame that the user saw. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
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
        frame_id: Id of the frame; has gaps where frames were dropped.
        last_id: Id of the last frame that repeats this one (shows the same and was not tracked), or its own.
        number: The tracker's count of the stream's frames; has no gaps.
        size: (width, height) in pixels.
        picture: The tracker's data of the frame.
    """

    frame_id: int
    last_id: int
    number: int
    size: tuple[int, int]
    picture: Picture


class FrameHistory(Generic[Picture]):
    """The newest tracked frames of one stream.

    A new epoch or size clears it: the source was interrupted, and masks are not carried over to pictures of a possibly
    different scene. A later prompt on a frame from before the cut is refused as expired.

    Long work on a frame can hold it (:meth:`hold`): it stays when newer frames push it out, one frame per holder. New
    objects can start on it, but existing ones cannot be corrected there, because their memory from before it is gone.

    Args:
        stream: The stream's id, for messages.
        capacity: Maximum number of frames, including the newest, not counting held ones.
    """

    def __init__(self, stream: str, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"history_frames {capacity} is invalid: expected 1 or more")
        self._stream = stream
        self._frames: deque[PastFrame[Picture]] = deque(maxlen=capacity)
        self._epoch = 0
        self._holds: dict[str, int] = {}
        self._pushed_out: dict[int, PastFrame[Picture]] = {}

    @property
    def newest(self) -> PastFrame[Picture] | None:
        """The last tracked frame; None before the first."""
        return self._frames[-1] if self._frames else None

    def add(self, frame: Frame, number: int, picture: Picture) -> None:
        """Add a tracked frame, and drop the oldest if there are too many.

        Args:
            frame: The frame; its planes are not kept.
            number: The tracker's count of the stream's frames.
            picture: The tracker's data of the frame.
        """
        size = (frame.format.width, frame.format.height)
        if self._frames and (frame.epoch != self._epoch or size != self._frames[-1].size):
            self._frames.clear()
            self._holds.clear()
            self._pushed_out.clear()
        self._epoch = frame.epoch
        if len(self._frames) == self._frames.maxlen and self._frames[0].frame_id in self._holds.values():
            self._pushed_out[self._frames[0].frame_id] = self._frames[0]
        self._frames.append(PastFrame(frame.frame_id, frame.frame_id, number, size, picture))

    def repeat(self, frame_id: int) -> None:
        """Record a frame that repeats the newest one: prompts on it apply to that one.

        Only a range of ids is stored per frame. It includes dropped frames in between, whose pictures were never sent.

        Args:
            frame_id: The frame; later than all earlier ones.

        Raises:
            ValueError: No frame was tracked yet.
        """
        if not self._frames:
            raise ValueError(
                f"frame {frame_id} of stream {self._stream!r} cannot be a repetition: no frame was tracked yet"
            )
        self._frames[-1] = replace(self._frames[-1], last_id=frame_id)

    def hold(self, holder: str, frame_id: int | None) -> None:
        """Keep a tracked frame for a holder, and release its previous one.

        Args:
            holder: Its name.
            frame_id: A frame that is still held; None: only release.
        """
        if frame_id is None:
            self._holds.pop(holder, None)
        else:
            self._holds[holder] = self.find(None, frame_id, is_new=True).frame_id
        self._pushed_out = {held: past for held, past in self._pushed_out.items() if held in self._holds.values()}

    def held(self) -> set[int]:
        """Return the numbers of the frames that holders keep."""
        return {self.find(None, frame_id, is_new=True).number for frame_id in self._holds.values()}

    def converted(self, convert: Callable[[Picture], Picture]) -> FrameHistory[Picture]:
        """Return the same frames with their pictures converted."""
        capacity = self._frames.maxlen
        assert capacity is not None
        other: FrameHistory[Picture] = FrameHistory(self._stream, capacity)
        other._frames.extend(replace(past, picture=convert(past.picture)) for past in self._frames)
        other._epoch, other._holds = self._epoch, dict(self._holds)
        other._pushed_out = {
            held: replace(past, picture=convert(past.picture)) for held, past in self._pushed_out.items()
        }
        return other

    def find(self, obj_id: int | None, frame_id: int | None, *, is_new: bool = False) -> PastFrame[Picture]:
        """Return the frame that a prompt applies to: the given one, or the tracked one that it repeats.

        Args:
            obj_id: The prompt's object, for messages; None: several.
            frame_id: The frame; None for the newest.
            is_new: Whether the prompt starts an object, and so may apply to a frame kept only by :meth:`hold`.

        Raises:
            PromptError: No frame was tracked yet, or this one was not.
            FrameExpiredError: The frame is no longer held, or was never tracked.
        """
        whose = "" if obj_id is None else f"object {obj_id}: "
        if not self._frames:
            raise PromptError(f"{whose}stream {self._stream!r} has no frame yet: prompt it after its first frame")
        oldest, newest = self._frames[0], self._frames[-1]
        if frame_id is None:
            return newest
        if frame_id > newest.last_id:
            raise PromptError(
                f"{whose}frame {frame_id} of stream {self._stream!r} was not tracked yet: the newest is "
                f"{newest.last_id}: prompt that one or an earlier one"
            )
        held = [*self._frames, *self._pushed_out.values()] if is_new else list(self._frames)
        for past in reversed(held):
            if past.frame_id <= frame_id <= past.last_id:
                return past
        if frame_id > oldest.frame_id:
            near = min((past.frame_id for past in self._frames), key=lambda held: abs(held - frame_id))
            raise FrameExpiredError(
                f"{whose}frame {frame_id} of stream {self._stream!r} was dropped and never tracked; held "
                f"are frames from {oldest.frame_id} to {newest.last_id}: prompt one that has masks, for example {near}"
            )
        raise FrameExpiredError(
            f"{whose}frame {frame_id} of stream {self._stream!r} is not held: frames {oldest.frame_id} to "
            f"{newest.last_id} are: prompt one of them, or raise model.history_frames"
        )

    def since(self, number: int) -> list[PastFrame[Picture]]:
        """Return the newest frames from a number on, oldest first."""
        return [past for past in self._frames if past.number >= number]

    def until(self, number: int) -> list[PastFrame[Picture]]:
        """Return the newest frames up to a number, newest first."""
        return [past for past in reversed(self._frames) if past.number <= number]


def evenly(items: Sequence[Item], max_count: int) -> list[Item]:
    """Choose items at even distances, including the last one.

    Args:
        items: In order.
        max_count: How many to choose at most; 1 or more.
    """
    count = min(max_count, len(items))
    return [items[-(-(place + 1) * len(items) // count) - 1] for place in range(count)]
