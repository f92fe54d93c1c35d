"""The last changes that a client made to a stream's objects, so that they can be undone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from streamseg.ipc.saved_prompts import SavedObject
from streamseg.protocol.arguments import AddPrompt

MAX_CHANGES: Final = 8
MAX_AGE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """A change that can be undone.

    Attributes:
        op: The operation that made it.
        before: Id -> the object as it was before; None if it did not exist. Only objects that changed.
        made_at: When, in seconds of the clock.
        correction: The prompt with its frame id, if it corrected an object: redo applies it to that frame again.
    """

    op: str
    before: Mapping[int, SavedObject | None]
    made_at: float
    correction: AddPrompt | None = None


class UndoStack:
    """The newest changes of one stream, and those that were undone; bounded in number and time.

    Holds references to prompts, no copies of masks.

    Args:
        clock: Returns seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        self._undone: deque[Change] = deque(maxlen=MAX_CHANGES)

    @property
    def undone(self) -> int:
        """Number of changes that can be redone."""
        self._expire()
        return len(self._undone)

    def __len__(self) -> int:
        self._expire()
        return len(self._changes)

    def record(
        self,
        op: str,
        before: Mapping[int, SavedObject],
        after: Mapping[int, SavedObject],
        correction: AddPrompt | None = None,
    ) -> None:
        """Record an operation by the objects before and after it, if it changed any. Undone changes are dropped."""
        changed = {
            obj_id: before.get(obj_id) for obj_id in (*before, *after) if before.get(obj_id) != after.get(obj_id)
        }
        if changed:
            self._changes.append(Change(op, changed, self._clock(), correction))
            self._undone.clear()

    def take(self) -> Change | None:
        """Remove and return the newest change; None if there is none from the last minute."""
        self._expire()
        return self._changes.pop() if self._changes else None

    def take_undone(self) -> Change | None:
        """Remove and return the change that was undone last; None if there is none from the last minute."""
        self._expire()
        return self._undone.pop() if self._undone else None

    def add_undone(self, change: Change, now: Mapping[int, SavedObject | None]) -> None:
        """Keep a change that is being undone. ``now``: its objects before the undo."""
        self._undone.append(replace(change, before=now, made_at=self._clock()))

    def add_redone(self, change: Change, now: Mapping[int, SavedObject | None]) -> None:
        """Keep a change that is being redone. ``now``: its objects before the redo."""
        self._changes.append(replace(change, before=now, made_at=self._clock()))

    def forget(self, obj_id: int) -> None:
        """Remove the newest change of an object: it was undone by other means."""
        for change in reversed(self._changes):
            if obj_id in change.before:
                self._changes.remove(change)
                return

    def clear(self) -> None:
        """Remove all changes."""
        self._changes.clear()
        self._undone.clear()

    def _expire(self) -> None:
        oldest = self._clock() - MAX_AGE_S
        for changes in (self._changes, self._undone):
            while changes and changes[0].made_at < oldest:
                changes.popleft()
