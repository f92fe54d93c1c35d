"""One batch of frames through the tracker: the only place where a frame passes through its stream.

An exception of the tracker costs one stream, not the worker: the batch is repeated stream by stream, and the stream
that raises is suspended (``TrackedStream.fail``). :mod:`streamseg.tracker.faults` says which exceptions end the worker.
No signal handler of this process raises, so every ``BaseException`` is the tracker's, such as a panic in Rust.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from streamseg.frame import Frame
from streamseg.tracker.faults import classify, free_cached_memory
from streamseg.tracker.types import ObjectResult, Tracker
from streamseg.worker.frame_turn import FrameResult, FrameTurn
from streamseg.worker.track_errors import raise_if_device_lost
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)


def track_frames(
    tracker: Tracker, streams: Mapping[str, TrackedStream], frames: Mapping[str, Frame]
) -> Iterator[FrameResult]:
    """Track the next frame of one or more streams and yield the results as they become known.

    Frames that need no tracking (paused or unchanged streams) come first, before the tracker runs. The others go
    through it in one call. A stream on which the tracker raises yields its frame without objects.

    Args:
        tracker: The tracker on which the streams are open.
        streams: Stream id -> stream.
        frames: Stream id -> its next frame.

    Raises:
        DeviceError: the device is lost, so that no stream can be tracked in this process.
    """
    tracked: dict[str, FrameTurn] = {}
    for stream, frame in frames.items():
        try:
            turn = streams[stream].begin_frame(frame)
            if turn.needs_tracking:
                tracked[stream] = turn
                continue
            result = turn.finish()
        except BaseException as error:  # noqa: BLE001 - logged and published by the stream
            result = _fail(streams[stream], frame, error)
        yield result
    if tracked:
        yield from _track(tracker, streams, tracked)


def _track(
    tracker: Tracker, streams: Mapping[str, TrackedStream], turns: Mapping[str, FrameTurn]
) -> Iterator[FrameResult]:
    results: dict[str, list[ObjectResult]] = {}
    if len(turns) > 1:
        try:
            results = tracker.track({stream: turn.frame for stream, turn in turns.items()})
        except BaseException as error:  # noqa: BLE001 - whatever it is, it may concern one stream only
            raise_if_device_lost(error)
            what = classify(error).text
            log.warning("a batch of %d streams failed and is repeated stream by stream: %s", len(turns), what)
        if not results:
            free_cached_memory()
    for stream, turn in turns.items():
        try:
            found = results[stream] if stream in results else _track_alone(tracker, stream, turn.frame)
            result = turn.finish(found)
        except BaseException as error:  # noqa: BLE001 - logged and published by the stream
            result = _fail(streams[stream], turn.frame, error)
        yield result


def _track_alone(tracker: Tracker, stream: str, frame: Frame) -> list[ObjectResult]:
    try:
        return tracker.track({stream: frame})[stream]
    except BaseException as error:
        if classify(error).remedy != "retry":
            raise
        log.warning("stream %s: %s: memory is freed and the frame is tracked again", stream, classify(error).text)
    free_cached_memory()  # outside of the handler, which would keep the failed call's tensors
    return tracker.track({stream: frame})[stream]


def _fail(stream: TrackedStream, frame: Frame, error: BaseException) -> FrameResult:
    raise_if_device_lost(error)
    return stream.fail(frame, classify(error).text, error)
