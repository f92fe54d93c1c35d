"""A tracker whose streams can be switched to a smaller model input while objects are tracked (``overload``).

The model is built twice from the same weights, once per input size, each with its own engine and memory bank. A switch
scales the objects' memory and the frames that can be prompted, so that all objects are still tracked, even hidden ones.
Snapshots always have the full size. Prompts from before the switch can no longer be undone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from streamseg.errors import PromptError
from streamseg.frame import Frame
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.stream_memory import for_input
from streamseg.tracker.types import Candidate, ObjectResult, Preview, Prompt, PromptResult, Question, StreamMemory

log = logging.getLogger(__name__)


class TwoSizeTracker:
    """A :class:`~streamseg.tracker.types.Tracker` for one model with two input sizes.

    Args:
        full: The tracker with the full input; tracks all streams at first.
        build_smaller: Builds the other tracker at the first :meth:`prepare_smaller_input`; None: there is none.
    """

    def __init__(self, full: Sam2Tracker, build_smaller: Callable[[], Sam2Tracker] | None) -> None:
        self._full = full
        self._build_smaller = build_smaller
        self._smaller: Sam2Tracker | None = None
        self._trackers: dict[str, Sam2Tracker] = {}
        self._tracked: dict[str, tuple[int, list[ObjectResult]]] = {}

    @property
    def device(self) -> str:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._full.device

    @property
    def engine(self) -> str:
        """Engine of the full size."""
        return self._full.engine

    @property
    def device_memory_bytes(self) -> int:
        """GPU memory that this process holds, for both sizes."""
        return self._full.device_memory_bytes

    @property
    def recompiles(self) -> int:
        """Graphs compiled after the last warm-up, plus how often all graphs of one size were recorded again."""
        if self._smaller is None:
            return self._full.recompiles
        return self._smaller.recompiles + self._full.rerecordings

    @property
    def memory_format(self) -> str:
        """Format of the full size, in which memory is always exported."""
        return self._full.memory_format

    @property
    def streams_at_once(self) -> int:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._full.streams_at_once

    def warm_up(self, progress: Callable[[str, float], None]) -> None:
        """Warm up the full size."""
        self._full.warm_up(progress)

    def prepare_smaller_input(self, progress: Callable[[str, float], None]) -> int | None:
        """Build the model for the smaller input and warm it up, unless that is done; return its side in pixels."""
        if self._smaller is None and self._build_smaller is not None:
            smaller = self._build_smaller()
            try:
                smaller.warm_up(progress)
            except BaseException:
                smaller.close()
                raise
            self._smaller = smaller
        return None if self._smaller is None else self._smaller.image_size

    def choose_input(self, stream: str, *, smaller: bool) -> int | None:
        """Track a stream with the smaller or the full input, from its next frame on; return the side in pixels.

        None: there is no smaller one, or it is not prepared. After an exception the stream is as it was.
        """
        if self._smaller is None:
            return None
        before, after = self._of(stream), self._smaller if smaller else self._full
        if before is not after:
            after.take_over(stream, before)
            self._trackers[stream] = after
        return after.image_size

    def open_stream(self, stream: str) -> None:
        """Start a stream without objects, with the full input."""
        self.close_stream(stream)
        self._full.open_stream(stream)
        self._trackers[stream] = self._full

    def close_stream(self, stream: str) -> None:
        """End a stream and free its objects. Does nothing if it is not open."""
        if (tracker := self._trackers.pop(stream, None)) is not None:
            tracker.close_stream(stream)
        self._tracked.pop(stream, None)

    def track(self, frames: Mapping[str, Frame]) -> dict[str, list[ObjectResult]]:
        """Track the next frame of one or more streams, those of each size in one batch.

        If the second batch fails, the first one's frames are done: the call that repeats one of them returns its
        results.
        """
        known = {stream: self._tracked.pop(stream, None) for stream in frames}
        results = {
            stream: done[1] for stream, done in known.items() if done is not None and done[0] == frames[stream].frame_id
        }
        for tracker in (self._full, self._smaller):
            batch = {
                stream: frame
                for stream, frame in frames.items()
                if stream not in results and self._trackers.get(stream, self._full) is tracker
            }
            if batch and tracker is not None:
                try:
                    results |= tracker.track(batch)
                except BaseException:
                    self._tracked |= {stream: (frames[stream].frame_id, found) for stream, found in results.items()}
                    raise
        return {stream: results[stream] for stream in frames}

    def _of(self, stream: str) -> Sam2Tracker:
        """Return the tracker of a stream. Any of them refuses a stream that is not open."""
        return self._trackers.get(stream, self._full)

    def repeat(self, stream: str, frame_id: int) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).repeat(stream, frame_id)

    def find_frame(self, stream: str, frame_id: int | None) -> int:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).find_frame(stream, frame_id)

    def hold_frame(self, stream: str, holder: str, frame_id: int | None) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).hold_frame(stream, holder, frame_id)

    def candidates(
        self, stream: str, points: Sequence[tuple[float, float]], quality: float | None = None
    ) -> Iterator[Sequence[Candidate]]:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).candidates(stream, points, quality)

    def add_prompt(
        self, stream: str, prompt: Prompt, frame_id: int | None = None, *, catch_up_frames: int | None = None
    ) -> PromptResult:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).add_prompt(stream, prompt, frame_id, catch_up_frames=catch_up_frames)

    def preview(
        self,
        stream: str,
        prompt: Prompt,
        frame_id: int | None = None,
        *,
        candidates: bool = False,
        fresh: bool = False,
    ) -> Preview:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).preview(stream, prompt, frame_id, candidates=candidates, fresh=fresh)

    def previews(self, stream: str, questions: Sequence[Question]) -> list[Preview | PromptError]:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).previews(stream, questions)

    def undo_prompt(self, stream: str, obj_id: int) -> PromptResult | None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).undo_prompt(stream, obj_id)

    def remove_object(self, stream: str, obj_id: int) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).remove_object(stream, obj_id)

    def export_memory(self, stream: str, aside: Iterable[int] = ()) -> StreamMemory:
        """Copy the memory of a stream's objects, in the full size."""
        tracker = self._of(stream)
        memory = tracker.export_memory(stream, aside)
        return memory if tracker is self._full else for_input(memory, self._full.feature_side)

    def import_memory(self, stream: str, memory: StreamMemory) -> dict[int, str]:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).import_memory(stream, memory)

    def set_aside(self, stream: str, obj_id: int) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).set_aside(stream, obj_id)

    def bring_back(self, stream: str, obj_id: int) -> ObjectResult:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        return self._of(stream).bring_back(stream, obj_id)

    def drop_aside(self, stream: str, obj_id: int) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).drop_aside(stream, obj_id)

    def reset(self, stream: str) -> None:
        """See :class:`~streamseg.tracker.types.Tracker`."""
        self._of(stream).reset(stream)
