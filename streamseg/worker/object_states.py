"""Object states (tracked, uncertain, occluded, lost) and the events that report their changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamseg.protocol.published import EventKind, ObjectState
from streamseg.state.stream_snapshot import Sighting


@dataclass(slots=True)
class _Sighting:
    """What is known of an object.

    Attributes:
        state: Its state.
        seen_ns: When it was last visible.
        agreed_ns: When its confidence last agreed with the state.
    """

    state: ObjectState
    seen_ns: int
    agreed_ns: int


class ObjectStates:
    """States of one stream's objects.

    An object that is not visible is ``occluded`` at first and ``lost`` after ``lost_after_ns``. A visible one is
    ``uncertain`` once its confidence has been low for ``uncertain_after_ns``, and ``tracked`` again once it has been
    high for as long. Time is the stream's own, so that the states do not depend on the speed of the worker or of
    reading a file.

    Args:
        lost_after_ns: Time without a sighting after which an object is lost.
        uncertain_below: Confidence below which a mask is probably wrong; 0: never.
        uncertain_after_ns: Time after which an object becomes uncertain, or tracked again.

    Attributes:
        lost_after_ns: The same; may be changed.
        uncertain_below: The same; may be changed.
        uncertain_after_ns: The same; may be changed.
    """

    def __init__(self, lost_after_ns: int, uncertain_below: float = 0.0, uncertain_after_ns: int = 0) -> None:
        self.lost_after_ns = lost_after_ns
        self.uncertain_below = uncertain_below
        self.uncertain_after_ns = uncertain_after_ns
        self._sightings: dict[int, _Sighting] = {}

    def update(
        self, obj_id: int, visible: bool, now_ns: int, confidence: float | None = None
    ) -> tuple[ObjectState, EventKind | None]:
        """Update an object's state with a new frame.

        Args:
            obj_id: The object.
            visible: Whether it is visible on the frame.
            now_ns: The frame's stream time.
            confidence: Probability that its mask is right; None if unknown.

        Returns:
            The new state, and the event to report if it differs from the old one.
        """
        sighting = self._sightings.setdefault(obj_id, _Sighting("tracked", now_ns, now_ns))
        before = sighting.state
        if visible:
            sighting.state, sighting.seen_ns = self._visible_state(sighting, now_ns, confidence), now_ns
            return sighting.state, _seen_event(before, sighting.state)
        sighting.seen_ns = min(sighting.seen_ns, now_ns)  # a looped file starts over
        if before != "lost":
            sighting.state = "lost" if now_ns - sighting.seen_ns >= self.lost_after_ns else "occluded"
        if sighting.state == before:
            return before, None
        return sighting.state, "object_lost" if sighting.state == "lost" else "object_occluded"

    def _visible_state(self, sighting: _Sighting, now_ns: int, confidence: float | None) -> ObjectState:
        """Return ``tracked`` or ``uncertain``; an object that reappears begins as tracked."""
        low = confidence is not None and confidence < self.uncertain_below
        was_uncertain = sighting.state == "uncertain"
        appeared = sighting.state in ("occluded", "lost")
        if appeared or low == was_uncertain or now_ns < sighting.agreed_ns:  # a looped file starts over
            sighting.agreed_ns = now_ns
        changes = low != was_uncertain and now_ns - sighting.agreed_ns >= self.uncertain_after_ns
        if changes:
            sighting.agreed_ns = now_ns
        return "uncertain" if was_uncertain != changes else "tracked"

    def sightings(self, now_ns: int) -> dict[int, Sighting]:
        """Return each object's state and how long ago it was last seen."""
        return {obj_id: Sighting(one.state, max(0, now_ns - one.seen_ns)) for obj_id, one in self._sightings.items()}

    def restore(self, sightings: Mapping[int, Sighting], now_ns: int) -> None:
        """Continue from saved states."""
        for obj_id, one in sightings.items():
            self._sightings[obj_id] = _Sighting(one.state, now_ns - one.unseen_ns, now_ns)

    def state(self, obj_id: int) -> ObjectState | None:
        """Return an object's state; None before its first frame."""
        sighting = self._sightings.get(obj_id)
        return None if sighting is None else sighting.state

    def lose(self, obj_id: int, now_ns: int) -> None:
        """Set an object to ``lost``."""
        self._sightings[obj_id] = _Sighting("lost", now_ns, now_ns)

    def forget(self, obj_id: int) -> None:
        """Remove an object."""
        self._sightings.pop(obj_id, None)

    def clear(self) -> None:
        """Remove all objects."""
        self._sightings.clear()


def _seen_event(before: ObjectState, now: ObjectState) -> EventKind | None:
    """Return the event of a visible object's change of state."""
    if before in ("occluded", "lost"):
        return "object_appeared"
    if now == before:
        return None
    return "object_uncertain" if now == "uncertain" else "object_certain"
