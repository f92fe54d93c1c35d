"""Removed objects that the tracker still follows for a while, so that a removal can be undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streamseg.ipc.saved_prompts import SavedObject
from streamseg.tracker.types import ObjectResult
from streamseg.worker.undo import MAX_AGE_S


@dataclass(slots=True)
class _Hidden:
    obj: SavedObject
    hidden_at: float
    result: ObjectResult | None


class HiddenObjects:
    """Objects that are tracked but not published. They take room that the stream's own objects do not need.

    Args:
        max_objects: Largest number of objects of the stream, hidden ones included; 0: none is hidden.
        drop: Removes an object from the tracker.
        clock: Returns seconds, for tests.
    """

    def __init__(
        self, max_objects: int, drop: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_objects = max_objects
        self._drop = drop
        self._clock = clock
        self._hidden: dict[int, _Hidden] = {}

    def hide(self, obj: SavedObject, result: ObjectResult | None) -> None:
        """Keep a removed object in the tracker."""
        self._hidden[obj.obj_id] = _Hidden(obj, self._clock(), result)
        if not self._max_objects:
            self.drop(obj.obj_id)

    def show(self, obj: SavedObject) -> ObjectResult | None:
        """Return the newest result of a hidden object that is now published again; None if it cannot be."""
        found = self._hidden.get(obj.obj_id)
        if found is None:
            return None
        if found.obj.prompts != obj.prompts or found.result is None:
            self.drop(obj.obj_id)
            return None
        del self._hidden[obj.obj_id]
        return found.result

    def take_results(self, results: Iterable[ObjectResult]) -> dict[int, ObjectResult]:
        """Keep the results of hidden objects, and return the others. Objects hidden for too long are dropped."""
        published: dict[int, ObjectResult] = {}
        for result in results:
            if result.obj_id in self._hidden:
                self._hidden[result.obj_id].result = result
            else:
                published[result.obj_id] = result
        oldest = self._clock() - MAX_AGE_S
        for obj_id in [obj_id for obj_id, hidden in self._hidden.items() if hidden.hidden_at < oldest]:
            self.drop(obj_id)
        return published

    def make_room(self, followed: int, obj_id: int) -> None:
        """Drop what is in the way of a new object: one with its id, and the oldest ones that take its place.

        Args:
            followed: Number of objects that are published.
            obj_id: Id of the new object.
        """
        if obj_id in self._hidden:
            self.drop(obj_id)
        while self._hidden and followed + len(self._hidden) >= self._max_objects:
            self.drop(next(iter(self._hidden)))

    def drop(self, obj_id: int) -> None:
        """Remove a hidden object from the tracker."""
        del self._hidden[obj_id]
        self._drop(obj_id)

    def clear(self) -> None:
        """Forget all: the tracker has."""
        self._hidden.clear()
