"""Removed objects whose memory is kept for a while, so that a removal can be undone. They are not tracked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from streamseg.ipc.saved_prompts import SavedObject
from streamseg.tracker.types import Tracker
from streamseg.worker.undo import MAX_AGE_S


@dataclass(frozen=True, slots=True)
class _Hidden:
    obj: SavedObject
    hidden_at: float


class HiddenObjects:
    """Objects of one stream that the tracker has set aside.

    Args:
        tracker: The tracker.
        stream: Id of the stream.
        max_objects: Maximum number of hidden objects; the oldest make room for new ones. 0: none is hidden.
        clock: Returns seconds, for tests.
    """

    def __init__(
        self, tracker: Tracker, stream: str, max_objects: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tracker = tracker
        self._stream = stream
        self._max_objects = max_objects
        self._clock = clock
        self._hidden: dict[int, _Hidden] = {}

    def hide(self, obj: SavedObject) -> None:
        """Set aside an object that the tracker has."""
        self._tracker.set_aside(self._stream, obj.obj_id)
        self._hidden.pop(obj.obj_id, None)
        self._hidden[obj.obj_id] = _Hidden(obj, self._clock())
        while len(self._hidden) > self._max_objects:
            self.drop(next(iter(self._hidden)))

    def find(self, obj_id: int) -> SavedObject | None:
        """Return a hidden object by its id."""
        hidden = self._hidden.get(obj_id)
        return None if hidden is None else hidden.obj

    def take(self, obj: SavedObject) -> bool:
        """Return whether the tracker can bring an object back as it was; if so, it is no longer hidden."""
        found = self._hidden.get(obj.obj_id)
        if found is None:
            return False
        if found.obj.prompts != obj.prompts:
            self.drop(obj.obj_id)
            return False
        del self._hidden[obj.obj_id]
        return True

    def expire(self) -> None:
        """Drop the objects that were hidden for too long."""
        oldest = self._clock() - MAX_AGE_S
        for obj_id in [obj_id for obj_id, hidden in self._hidden.items() if hidden.hidden_at < oldest]:
            self.drop(obj_id)

    def drop(self, obj_id: int) -> None:
        """Free the memory of an object. Does nothing if it is not hidden."""
        if self._hidden.pop(obj_id, None) is not None:
            self._tracker.drop_aside(self._stream, obj_id)

    def clear(self) -> None:
        """Forget all objects, as the tracker has."""
        self._hidden.clear()
