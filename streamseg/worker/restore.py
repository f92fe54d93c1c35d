"""Undoes a change of a stream's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamseg.errors import NothingToUndoError
from streamseg.ipc.saved_prompts import SavedObject
from streamseg.worker.stream_objects import StreamObjects


def restore(objects: StreamObjects, before: Mapping[int, SavedObject | None]) -> None:
    """Undo a change.

    An object whose memory the tracker no longer has is prompted again on the next tracked frame.

    Args:
        objects: The stream's objects.
        before: Id -> the object as it was before the change; None if it did not exist.
    """
    for obj_id, then in before.items():
        now = objects.table.objects.get(obj_id)
        if then is None:
            if now is not None:
                objects.remove(obj_id, can_undo=True)
        elif now is None:
            objects.bring_back(then)
        else:
            if now.prompts != then.prompts and not _took_back(objects, now, then):
                objects.replace((), (then,))
            named = replace(objects.table.objects[obj_id], label=then.label, origin=then.origin)
            objects.table.save(named)


def _took_back(objects: StreamObjects, now: SavedObject, then: SavedObject) -> bool:
    """Undo an object's last prompt in the tracker, if that is all that differs; return whether it was."""
    if then.corrected(now.prompts[-1]).prompts != now.prompts or not objects.table.is_tracked(now.obj_id):
        return False
    try:
        objects.undo_prompt(now.obj_id)
    except NothingToUndoError:
        return False
    objects.table.save(then)
    return True
