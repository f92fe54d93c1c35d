"""A frame on its way through a stream, its result, and the publisher's message about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from streamseg.frame import Frame
from streamseg.ipc.messages import TrackedFrame, TrackedObject
from streamseg.protocol.published import ObjectState, Origin
from streamseg.tracker.types import ObjectResult


class FrameTurn:
    """A frame that a stream has begun and not finished. Returned by ``TrackedStream.begin_frame``.

    Args:
        stream: Id of the stream.
        frame: The frame.
        complete: The stream's side of :meth:`finish`.
        needs_tracking: Whether the tracker must process the frame.
        repeats: Id of the tracked frame with the same picture, if any.
    """

    def __init__(
        self,
        stream: str,
        frame: Frame,
        complete: Callable[[FrameTurn, Sequence[ObjectResult] | None], FrameResult],
        *,
        needs_tracking: bool,
        repeats: int | None,
    ) -> None:
        self.stream = stream
        self.frame = frame
        self.needs_tracking = needs_tracking
        self.repeats = repeats
        self._complete = complete

    def finish(self, results: Sequence[ObjectResult] | None = None) -> FrameResult:
        """Complete the frame.

        Args:
            results: The tracker's results if the frame needs tracking, otherwise None.

        Raises:
            RuntimeError: the frame is finished already, a later frame was begun, or ``results`` does not match
                ``needs_tracking``.
        """
        if self.needs_tracking != (results is not None):
            given = "without" if results is None else "with"
            raise RuntimeError(f"frame {self.frame.frame_id} of {self.stream!r} was finished {given} results")
        return self._complete(self, results)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """A finished frame of a stream.

    Attributes:
        stream: Id of the stream.
        frame: The frame; its planes may be gone.
        objects: Its objects, oldest first.
        t_tracked_ns: ``time.monotonic_ns()`` when the masks were known.
        paused: The stream is paused: the frame was not tracked and has no objects.
        repeats: Id of the frame that the masks are from, if this one showed the same; None if it was tracked.
        failed: The frame was not tracked because of an error of the tracker.
    """

    stream: str
    frame: Frame
    objects: list[TrackedObject]
    t_tracked_ns: int
    paused: bool
    repeats: int | None
    failed: bool = False

    def message(self, *, dropped: int, slot: int) -> TrackedFrame:
        """Return the message for the publisher.

        Args:
            dropped: Frames of the stream dropped so far.
            slot: Ring slot shared with the publisher; -1 if it is not shared.
        """
        frame, stamps = self.frame, self.frame.stamps
        return TrackedFrame(
            stream=self.stream,
            frame_id=frame.frame_id,
            epoch=frame.epoch,
            size=(frame.format.width, frame.format.height),
            t_wall_ns=stamps.t_wall_ns,
            t_source=stamps.t_source,
            t_captured_ns=stamps.t_captured_ns,
            t_decoded_ns=stamps.t_decoded_ns,
            t_tracked_ns=self.t_tracked_ns,
            pts=stamps.pts,
            time_base=stamps.time_base,
            sample_aspect=frame.format.sample_aspect,
            dropped=dropped,
            slot=slot,
            objects=self.objects,
            paused=self.paused,
            repeats=self.repeats,
            failed=self.failed,
        )


def pack_object(result: ObjectResult, label: str, state: ObjectState, origin: Origin) -> TrackedObject:
    """Pack an object's mask to bits."""
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
        confidence=result.confidence,
        origin=origin,
    )
