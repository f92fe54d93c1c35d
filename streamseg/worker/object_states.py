"""Object states (tracked, occluded, lost) and the events that report their changes."""

from __future__ import annotations

from dataclasses import dataclass

from streamseg.protocol.published import EventKind, ObjectState


@dataclass(slots=True)
class _Sighting:
    state: ObjectState
    seen_ns: int


class ObjectStates:
    """States of one stream's objects.

    An object that is not visible is ``occluded`` at first and ``lost`` after ``lost_after_ns``. Time is the stream's
    own, so that the states do not depend on the speed of the worker or of reading a file.

    Args:
        lost_after_ns: Time without a sighting after which an object is lost.

    Attributes:
        lost_after_ns: The same; may be changed.
    """

    def __init__(self, lost_after_ns: int) -> None:
        self.lost_after_ns = lost_after_ns
        self._sightings: dict[int, _Sighting] = {}

    def update(self, obj_id: int, visible: bool, now_ns: int) -> tuple[ObjectState, EventKind | None]:
        """Update an object's state with a new frame.

        Args:
            obj_id: The object.
            visible: Whether it is visible on the frame.
            now_ns: The frame's stream time.

        Returns:
            The new state, and the event to report if it differs from the old one.
        """
        sighting = self._sightings.setdefault(obj_id, _Sighting("tracked", now_ns))
        before = sighting.state
        if visible:
            sighting.state, sighting.seen_ns = "tracked", now_ns
            return "tracked", "object_appeared" if before != "tracked" else None
        sighting.seen_ns = min(sighting.seen_ns, now_ns)  # a looped file starts over
        if before != "lost":
            sighting.state = "lost" if now_ns - sighting.seen_ns >= self.lost_after_ns else "occluded"
        if sighting.state == before:
            return before, None
        return sighting.state, "object_lost" if sighting.state == "lost" else "object_occluded"

    def forget(self, obj_id: int) -> None:
        """Remove an object."""
        self._sightings.pop(obj_id, None)

    def clear(self) -> None:
        """Remove all objects."""
        self._sightings.clear()
