"""The objects of one stream: their prompts, and which of those prompts the tracker has accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream, free_id, next_id_after
from streamseg.protocol.arguments import Rle

PendingPrompt = tuple[int, SavedPrompt]
"""Object id and prompt."""


class ObjectTable:
    """Objects by id, oldest first, with the prompts that are pending or rejected. Does not touch the tracker.

    Args:
        objects: Objects to start with; all their prompts are pending.
        next_id: Where the search for a free id begins.

    Attributes:
        next_id: Where the search for a free id begins.
        changed: Something changed since :meth:`snapshot`; may be set by the owner.
    """

    def __init__(self, objects: Iterable[SavedObject], next_id: int) -> None:
        self._objects = {obj.obj_id: obj for obj in objects}
        self._tracked: set[int] = set()
        self._pending = self._all_prompts()
        self._rejected: list[PendingPrompt] = []
        self.next_id = next_id
        self.changed = False

    @property
    def objects(self) -> dict[int, SavedObject]:
        """Id -> object, oldest first. Read only."""
        return self._objects

    @property
    def tracked(self) -> tuple[SavedObject, ...]:
        """The objects that the tracker has, oldest first."""
        return tuple(obj for obj in self._objects.values() if obj.obj_id in self._tracked)

    @property
    def free_id(self) -> int:
        """An id for a new object."""
        return free_id(self.next_id, self._objects)

    @property
    def has_pending(self) -> bool:
        """Whether prompts wait for the next tracked frame."""
        return bool(self._pending)

    def is_tracked(self, obj_id: int) -> bool:
        """Whether the tracker has the object. It does not while the object's prompt is pending or rejected."""
        return obj_id in self._tracked

    def save(self, obj: SavedObject) -> None:
        """Add or replace an object."""
        self._objects[obj.obj_id] = obj
        self.next_id = next_id_after(self.next_id, (obj.obj_id,))
        self.changed = True

    def mark_tracked(self, obj_id: int) -> bool:
        """Mark an object as accepted by the tracker; return whether that is new."""
        new = obj_id not in self._tracked
        if self._objects[obj_id].last_mask is not None:
            self.save(replace(self._objects[obj_id], last_mask=None))
        self._tracked.add(obj_id)
        return new

    def unfollow(self, obj_id: int) -> None:
        """Note that the tracker no longer has an object, which stays in the table."""
        self._tracked.discard(obj_id)
        self.changed = True

    def remove(self, obj_id: int) -> bool:
        """Remove an object and its prompts; return whether the tracker had accepted it."""
        del self._objects[obj_id]
        self.discard_prompts(obj_id)
        self.changed = True
        tracked = obj_id in self._tracked
        self._tracked.discard(obj_id)
        return tracked

    def clear(self) -> None:
        """Remove all objects. Their ids stay used."""
        self.changed |= bool(self._objects)
        self._objects.clear()
        self.forget_tracking()

    def forget_tracking(self) -> None:
        """Note that the tracker has lost all objects. Nothing is pending until :meth:`reprompt_all`."""
        self._tracked.clear()
        self._pending.clear()
        self._rejected.clear()

    def add_pending(self, obj: SavedObject) -> None:
        """Apply an object's prompts to the next tracked frame."""
        self._pending += [(obj.obj_id, prompt) for prompt in obj.start_prompts]

    def take_pending(self) -> list[PendingPrompt]:
        """Return the pending prompts; nothing is pending afterwards."""
        pending, self._pending = self._pending, []
        return pending

    def reject(self, obj_id: int, prompt: SavedPrompt) -> None:
        """Keep a prompt that does not fit the frame, for :meth:`retry_rejected`."""
        self._rejected.append((obj_id, prompt))

    def retry_rejected(self) -> None:
        """Make the rejected prompts pending: they may fit frames of another size."""
        self._pending += self._rejected
        self._rejected = []

    def save_masks(self, masks: Mapping[int, Rle]) -> None:
        """Store masks from which their objects start the next time they are prompted."""
        for obj_id, mask in masks.items():
            if obj_id in self._tracked:
                self.save(replace(self._objects[obj_id], last_mask=mask))

    def reprompt_all(self) -> None:
        """Make all prompts of all objects pending."""
        self._pending = self._all_prompts()

    def discard_prompts(self, obj_id: int) -> None:
        """Drop the pending and rejected prompts of an object."""
        self._pending = [entry for entry in self._pending if entry[0] != obj_id]
        self._rejected = [entry for entry in self._rejected if entry[0] != obj_id]

    def snapshot(self, *, paused: bool) -> SavedStream | None:
        """Return what the next worker needs to track the same objects; None if nothing changed since the last call."""
        if not self.changed:
            return None
        self.changed = False
        return SavedStream(tuple(self._objects.values()), self.next_id, paused)

    def _all_prompts(self) -> list[PendingPrompt]:
        return [(obj.obj_id, prompt) for obj in self._objects.values() for prompt in obj.start_prompts]
