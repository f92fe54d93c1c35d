"""What this process knows of one stream: its status, its objects and how long its frames took."""

from __future__ import annotations

import time
from typing import Final

from streamseg.client import ObjectsFrame, StatusMessage
from streamseg.web.feed import Feed
from streamseg.web.histogram import Histogram
from streamseg.web.responses import ObjectResponse, ObjectsResponse

STAGES: Final = ("decode", "track", "publish", "total")


class StreamView:
    """One stream.

    Args:
        stream: Its id.
        feed: Its pictures.

    Attributes:
        feed: Its pictures.
        status: The newest status.
        latency: Stage -> durations, of all frames that were seen here.
    """

    def __init__(self, stream: str, feed: Feed) -> None:
        self.feed = feed
        self.status: StatusMessage | None = None
        self.latency = {stage: Histogram() for stage in STAGES}
        self._stream = stream
        self._frame: ObjectsFrame | None = None
        self._received_at = 0.0
        self._first_seen: dict[int, float] = {}

    def on_objects(self, frame: ObjectsFrame) -> None:
        """Take a tracked frame's objects."""
        if self._frame is not None and frame.session != self._frame.session:
            self._first_seen.clear()
        self._frame, self._received_at = frame, time.monotonic()
        # What is no longer followed is forgotten, so this stays as small as the list of objects.
        self._first_seen = {obj.id: self._first_seen.get(obj.id, self._received_at) for obj in frame.objects}
        stamps = (frame.t_captured_ns, frame.t_decoded_ns, frame.t_tracked_ns, frame.t_published_ns)
        for stage, begin, end in zip(STAGES, (*stamps[:3], stamps[0]), (*stamps[1:], stamps[3]), strict=True):
            self.latency[stage].add((end - begin) / 1e9)

    def age_s(self, obj_id: int) -> float:
        """Seconds since an object was first seen; 0 for one that was not."""
        first = self._first_seen.get(obj_id)
        return 0.0 if first is None else time.monotonic() - first

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
            objects=[ObjectResponse.of(obj, self.age_s(obj.id)) for obj in frame.objects],
        )
