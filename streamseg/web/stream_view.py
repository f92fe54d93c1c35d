"""State of one stream: its pictures, its newest status and its objects."""

from __future__ import annotations

import time

from streamseg.client import ObjectsFrame, StatusMessage
from streamseg.web.feed import Feed
from streamseg.web.responses import ObjectResponse, ObjectsResponse


class StreamView:
    """State of one stream.

    Args:
        stream: Id of the stream.
        feed: Its pictures.

    Attributes:
        feed: Its pictures.
        status: Newest status; None before the first.
    """

    def __init__(self, stream: str, feed: Feed) -> None:
        self.feed = feed
        self.status: StatusMessage | None = None
        self._stream = stream
        self._frame: ObjectsFrame | None = None
        self._received_at = 0.0
        self._first_seen_at: dict[int, float] = {}

    def on_objects(self, frame: ObjectsFrame) -> None:
        """Update the objects from a tracked frame."""
        if self._frame is not None and frame.session != self._frame.session:
            self._first_seen_at.clear()
        self._frame, self._received_at = frame, time.monotonic()
        # Rebuilt from the current objects, so that it does not grow.
        self._first_seen_at = {obj.id: self._first_seen_at.get(obj.id, self._received_at) for obj in frame.objects}

    def age_s(self, obj_id: int) -> float:
        """Return the seconds since an object was first seen; 0 for an unknown one."""
        first_seen_at = self._first_seen_at.get(obj_id)
        return 0.0 if first_seen_at is None else time.monotonic() - first_seen_at

    def objects(self) -> ObjectsResponse:
        """Return the objects of the newest tracked frame."""
        frame = self._frame
        if frame is None:
            return ObjectsResponse(stream=self._stream, frame=None, repeats=None, age_ms=None, objects=[])
        return ObjectsResponse(
            stream=self._stream,
            frame=frame.frame,
            repeats=frame.repeats,
            age_ms=round(frame.age_ms + (time.monotonic() - self._received_at) * 1e3, 1),
            objects=[ObjectResponse.from_message(obj, self.age_s(obj.id)) for obj in frame.objects],
        )
