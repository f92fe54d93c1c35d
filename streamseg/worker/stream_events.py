"""The events of one stream, from when they happen until the worker sends them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from streamseg.frame import Frame
from streamseg.ipc.messages import StreamEvent
from streamseg.protocol.published import EventKind, Region
from streamseg.worker.zones import RegionEvent


class EventLog:
    """Collects events.

    Args:
        stream: Id of the stream.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._events: list[StreamEvent] = []
        self._newest: tuple[int, int] | None = None

    def note_tracked(self, frame: Frame) -> None:
        """Note the newest tracked frame: later events without a frame belong to it."""
        self._newest = frame.epoch, frame.frame_id

    def add(
        self,
        kind: EventKind,
        frame: Frame | None = None,
        *,
        obj_id: int | None = None,
        label: str = "",
        detail: str = "",
        region: Region | None = None,
        objects: list[int] | None = None,
    ) -> None:
        """Record an event of a frame. Without ``frame`` it belongs to the newest tracked frame and happens now."""
        epoch, frame_id = (frame.epoch, frame.frame_id) if frame else self._newest or (0, None)
        self._events.append(
            StreamEvent(
                stream=self._stream,
                kind=kind,
                t_wall_ns=frame.stamps.t_wall_ns if frame else time.time_ns(),
                epoch=epoch,
                frame_id=frame_id,
                obj_id=obj_id,
                label=label,
                detail=detail,
                region=region,
                objects=objects,
            )
        )

    def add_regions(self, events: Iterable[RegionEvent], label: str, frame: Frame | None = None) -> None:
        """Record what an object did at zones and lines."""
        for event in events:
            kind, region = event.published()
            self.add(kind, frame, obj_id=event.obj_id, label=label, detail=event.text(label), region=region)

    def take(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events
