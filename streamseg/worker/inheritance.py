"""Continues a stream's objects from an earlier worker or daemon: from its snapshot, or from prompts alone.

An object without usable memory is not prompted again at its old place, because something else may be there
now. It is ``lost``, unless ``on_discontinuity`` says otherwise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamseg.config.schema import StreamConfig
from streamseg.errors import PromptError, StateError
from streamseg.frame import Frame
from streamseg.ipc.saved_prompts import SavedObject, SavedStream, configured
from streamseg.ring.frame_ring import FrameRing
from streamseg.state.daemon_record import source_digest
from streamseg.state.folder import StateFolder
from streamseg.state.stream_snapshot import MAX_BYTES, StreamSnapshot, decode_snapshot
from streamseg.tracker.faults import classify
from streamseg.tracker.types import StreamMemory, Tracker
from streamseg.worker.stream_events import EventLog
from streamseg.worker.stream_objects import StreamObjects
from streamseg.worker.track_errors import raise_if_device_lost

log = logging.getLogger(__name__)

NO_SNAPSHOT: Final = "there is no snapshot of its memory"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What an earlier worker or daemon left of a stream.

    Attributes:
        saved: The objects.
        memory_lost: An earlier worker of this daemon tracked the stream, and its memory was lost with it.
        snapshot: The memory of its objects; None if there is no usable one.
        reason: Why there is no usable one.
        session: Id of this run of the daemon.
    """

    saved: SavedStream
    memory_lost: bool = False
    snapshot: StreamSnapshot | None = None
    reason: str = NO_SNAPSHOT
    session: str = ""


def was_tracked(ring: FrameRing) -> bool:
    """Return whether an earlier worker took frames of the ring: its memory of their objects was lost with it."""
    counters = ring.counters()
    taken = counters.frames - counters.dropped - counters.pending - counters.held
    return taken > 0 or counters.abandoned > 0


def read_snapshot(
    folder: StateFolder, stream: str, config: StreamConfig, memory_format: str, max_age_s: float
) -> tuple[StreamSnapshot | None, str]:
    """Return a stream's snapshot, or None and why it cannot be used."""
    try:
        data = folder.read_stream(stream, MAX_BYTES)
        if data is None:
            return None, NO_SNAPSHOT
        snapshot = decode_snapshot(data)
    except StateError as error:
        return None, f"the snapshot of its memory is not used: {error}"
    age_s = (time.time_ns() - snapshot.t_wall_ns) / 1e9
    if snapshot.memory_format != memory_format:
        return None, "the snapshot of its memory is of another model, or of another size of its input"
    if snapshot.source != source_digest(config.source):
        return None, "the snapshot of its memory is of another source"
    if not -60 <= age_s <= max_age_s:  # a clock may be set back a little
        return None, f"the snapshot of its memory is {age_s:.0f} s old, state.max_age_s is {max_age_s:g}"
    return snapshot, ""


class Restoration:
    """Decides for each object of a new stream whether it continues, is prompted, is lost or is removed.

    Args:
        objects: The stream's objects; all of their prompts are pending.
        config: Settings of the stream, which is open on the tracker.
        tracker: The tracker.
        left: What the earlier worker or daemon left.

    Attributes:
        epoch: Epoch of the stream at the time of the snapshot, if it is used and was taken in this session.
    """

    def __init__(self, objects: StreamObjects, config: StreamConfig, tracker: Tracker, left: Inheritance) -> None:
        self.epoch: int | None = None
        self._objects = objects
        self._left = left
        self._reason = left.reason
        self._removed: set[int] = set()
        self._restored = self._import(tracker) if left.snapshot is not None else []
        self._without = self._settle_others(config)

    def _import(self, tracker: Tracker) -> list[int]:
        """Import the memory of the objects that are still wanted; return the ids of those that have it."""
        snapshot, table = self._left.snapshot, self._objects.table
        assert snapshot is not None
        same = {obj.obj_id for obj in snapshot.saved.objects if _same_object(table.objects.get(obj.obj_id), obj)}
        wanted = {obj_id: memory for obj_id, memory in snapshot.memory.items() if obj_id in same}
        aside = {obj_id: frame for obj_id, frame in snapshot.aside.items() if obj_id in wanted}
        try:
            refused = tracker.import_memory(self._objects.name, StreamMemory(snapshot.frame, wanted, aside))
        except BaseException as error:
            raise_if_device_lost(error)
            known = isinstance(error, PromptError)
            self._reason = f"the snapshot of its memory is not used: {error if known else classify(error).text}"
            if not known:
                log.exception("stream %s: %s", self._objects.name, self._reason)
            tracker.open_stream(self._objects.name)
            return []
        self._refuse({obj_id: why for obj_id, why in snapshot.damaged.items() if obj_id in same} | refused)
        restored = [obj_id for obj_id in wanted if obj_id not in refused]
        for obj_id in restored:
            table.discard_prompts(obj_id)
            table.mark_tracked(obj_id)
        self._objects.suspended = tuple(obj_id for obj_id in table.objects if obj_id in aside and obj_id in restored)
        if snapshot.session == self._left.session:
            self.epoch = snapshot.epoch
        return restored

    def _refuse(self, refused: Mapping[int, str]) -> None:
        """Log and note why the memory of single objects is not used."""
        if refused:
            whys = [f"the snapshot's memory of object {obj_id} is not used: {why}" for obj_id, why in refused.items()]
            self._reason = "; ".join(whys)
            log.warning("stream %s: %s", self._objects.name, self._reason)

    def _settle_others(self, config: StreamConfig) -> list[SavedObject]:
        """Apply the policy to the objects that have no memory; return them."""
        table, saved = self._objects.table, self._left.saved
        if saved.planned:
            table.changed = True  # a crash of this worker is not planned
            for obj_id in set(saved.unseen) & set(table.objects) - set(self._restored):
                self._objects.lose(obj_id)
            return []
        if not (self._left.memory_lost or saved.earlier):
            return []
        without = [obj for obj in table.objects.values() if obj.obj_id not in self._restored]
        if not self._left.memory_lost:
            # A daemon that starts applies its configured prompts.
            prompted = {obj.obj_id: obj.prompts for obj in configured(config.prompts).objects}
            without = [obj for obj in without if prompted.get(obj.obj_id) != obj.prompts[:1]]
        for obj in without:
            # Objects found without a prompt can be found again, where they are now.
            match "reset" if obj.is_found else config.on_discontinuity:
                case "reset":
                    table.remove(obj.obj_id)
                    self._removed.add(obj.obj_id)
                case "keep":
                    self._objects.lose(obj.obj_id)
                case "reprompt":
                    pass
        return without

    def report(self, frame: Frame, events: EventLog) -> None:
        """On the first frame, continue the states and report which objects were restored and which were not."""
        snapshot, now_ns = self._left.snapshot, frame.stamps.stream_time_ns
        table = self._objects.table
        restored = [obj_id for obj_id in self._restored if table.is_tracked(obj_id)]
        if restored and snapshot is not None:
            kept = {obj_id: one for obj_id, one in snapshot.sightings.items() if obj_id in restored}
            self._objects.states.restore(kept, now_ns)
            age_s = (time.time_ns() - snapshot.t_wall_ns) / 1e9
            missed = ""
            if snapshot.session == self._left.session:
                missed = f", {max(0, frame.frame_id - snapshot.frame_id - 1)} frames ago"
            detail = f"tracked on from memory that is {age_s:.1f} s old{missed}"
            log.info("stream %s: objects %s: %s", self._objects.name, restored, detail)
            events.add("restored", frame, detail=detail, objects=restored)
        # A request may have removed or replaced an object meanwhile, and said so.
        without = [
            obj
            for obj in self._without
            if obj.obj_id in self._removed or _same_object(table.objects.get(obj.obj_id), obj)
        ]
        if without:
            self._objects.report_reset(without, self._reason, frame)
        for obj_id in sorted(self._objects.missing):
            self._objects.states.lose(obj_id, now_ns)
            events.add("object_lost", frame, obj_id=obj_id, label=self._objects.table.objects[obj_id].label)


def _same_object(now: SavedObject | None, then: SavedObject) -> bool:
    """Return whether two records are about one object: an id can be given to another one."""
    return now is not None and now.prompts[0] == then.prompts[0]
