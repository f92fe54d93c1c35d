"""Whether an object is tracked, occluded or lost, and the events when that changes."""

from __future__ import annotations

from dataclasses import dataclass

from streamseg.protocol.published import EventKind, ObjectState


@dataclass(slots=True)
class _Sighting:
    state: ObjectState
    seen_ns: int


class ObjectStates:
    """States of one stream's objects.

    An object that is not seen is ``occluded`` at first and ``lost`` after ``lost_after_ns``. Time is the stream's
    own, so that a slow worker, or a file read faster than it plays, changes nothing.

    Args:
        lost_after_ns: Time without a sighting until an object is lost.

    Attributes:
        lost_after_ns: The same; may be changed.
    """

    def __init__(self, lost_after_ns: int) -> None:
        self.lost_after_ns = lost_after_ns
        self._sightings: dict[int, _Sighting] = {}

    def update(self, obj_id: int, visible: bool, now_ns: int) -> tuple[ObjectState, EventKind | None]:
        """Note whether an object is seen on the frame that was captured at ``now_ns`` (the stream's clock).

        Returns:
            Its state, and the event that its change is, if it changed.
        """
        sighting = self._sightings.setdefault(obj_id, _Sighting("tracked", now_ns))
        before = sighting.state
        if visible:
            sighting.state, sighting.seen_ns = "tracked", now_ns
            return "tracked", "object_appeared" if before != "tracked" else None
        sighting.seen_ns = min(sighting.seen_ns, now_ns)  # a file that is looped begins again
        if before != "lost":
            sighting.state = "lost" if now_ns - sighting.seen_ns >= self.lost_after_ns else "occluded"
        if sighting.state == before:
            return before, None
        return sighting.state, "object_lost" if sighting.state == "lost" else "object_occluded"

    def forget(self, obj_id: int) -> None:
        """Drop an object that was removed."""
        self._sightings.pop(obj_id, None)

    def clear(self) -> None:
        """Drop all objects."""
        self._sightings.clear()
