"""One batch of frames through the tracker: the only place where a frame passes through its stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamseg.frame import Frame
from streamseg.tracker.types import Tracker
from streamseg.worker.frame_turn import FrameResult
from streamseg.worker.tracked_stream import TrackedStream


def track_frames(
    tracker: Tracker, streams: Mapping[str, TrackedStream], frames: Mapping[str, Frame]
) -> Iterator[FrameResult]:
    """Track the next frame of one or more streams and yield the results as they become known.

    Frames that need no tracking (paused or unchanged streams) come first, before the tracker runs. The others go
    through it in one call.

    Args:
        tracker: The tracker on which the streams are open.
        streams: Stream id -> stream.
        frames: Stream id -> its next frame.
    """
    turns = [streams[stream].begin_frame(frame) for stream, frame in frames.items()]
    for turn in turns:
        if not turn.needs_tracking:
            yield turn.finish()
    tracked = {turn.stream: turn for turn in turns if turn.needs_tracking}
    if tracked:
        results = tracker.track({stream: turn.frame for stream, turn in tracked.items()})
        for stream, turn in tracked.items():
            yield turn.finish(results[stream])
