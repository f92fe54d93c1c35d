"""Frames from one writing process to reading processes, through shared memory, without copying them twice.

``docs/architecture.md`` says why it is so, ``docs/frame_ring.md`` what lies where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamseg.errors import RingError
from streamseg.ring import layout
from streamseg.ring.layout import Policy, Role, role_bit
from streamseg.ring.memory import RingMemory
from streamseg.ring.reader import HeldFrame, RingReader
from streamseg.ring.writer import RingWriter

__all__ = ["FrameRing", "HeldFrame", "Policy", "RingCounters", "RingReader", "RingShape", "RingWriter", "Role"]

DEFAULT_SLOT_BYTES: Final = 64 * 1024 * 1024
"""Room for 8K yuv420p. Costs nothing until it is used."""


@dataclass(frozen=True, slots=True)
class RingCounters:
    """What a ring has seen.

    Attributes:
        frames: Frames written so far; also the next ``frame_id``. Includes those that were dropped.
        superseded: Frames that a newer one pushed out before anybody took them.
        no_slot: Frames that found every slot held.
        abandoned: Frames that a worker held when it died.
        epoch: Present epoch.
        pending: Frames that wait to be taken.
        held: Slots that are held by, or offered to, a reader.
    """

    frames: int
    superseded: int
    no_slot: int
    abandoned: int
    epoch: int
    pending: int
    held: int

    @property
    def dropped(self) -> int:
        """Frames that were lost here, for whatever reason."""
        return self.superseded + self.no_slot + self.abandoned


@dataclass(frozen=True, slots=True)
class RingShape:
    """What it takes, beside its descriptors, to use a ring in another process."""

    policy: Policy
    slots: int
    slot_bytes: int


class FrameRing:
    """A ring of frames between processes: one writer, one reader for each role.

    Made by the supervisor, which passes it to children in ``Process(args=...)`` of the spawn context, as often as it
    likes; a child that runs already gets :attr:`shape` and :attr:`fds`, for :meth:`of`. A process may be killed at any
    instant: its successor's :meth:`writer` or :meth:`reader` puts things right.

    Args:
        policy: ``newest``: a frame pushes out the one before it, the writer never waits. ``every``: nothing is
            dropped, the writer waits for a free slot.
        slots: Number of slots, 2 to 16.
        slot_bytes: The largest frame in bytes; rounded up to whole pages.
        after: Counters of a ring before this one, for the same stream: numbers of frames and epochs go on.

    Raises:
        RingError: the number of slots or their size is out of range.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        slots: int = 6,
        slot_bytes: int = DEFAULT_SLOT_BYTES,
        after: RingCounters | None = None,
    ) -> None:
        if not layout.MIN_SLOTS <= slots <= layout.MAX_SLOTS:
            raise RingError(f"slots is {slots}: give {layout.MIN_SLOTS} to {layout.MAX_SLOTS}")
        if slot_bytes < 1:
            raise RingError(f"slot_bytes is {slot_bytes}: give the size of the largest frame")
        self._policy = policy
        self._memory = RingMemory(slots, slot_bytes)
        if after is not None:
            with self._memory.locked() as control:
                control.next_frame_id, control.epoch = after.frames, after.epoch
                control.superseded, control.no_slot = after.superseded, after.no_slot
                control.abandoned = after.abandoned
                self._memory.commit(control)

    @classmethod
    def of(cls, shape: RingShape, fds: Sequence[int]) -> FrameRing:
        """Return the ring that another process described; ``fds`` are this process's own copies of its descriptors."""
        ring = cls.__new__(cls)
        ring._policy = shape.policy
        ring._memory = RingMemory.of(shape.slots, shape.slot_bytes, fds)
        return ring

    @property
    def shape(self) -> RingShape:
        """What another process needs to know of it."""
        return RingShape(self._policy, self._memory.slots, self._memory.slot_bytes)

    @property
    def fds(self) -> tuple[int, ...]:
        """What another process needs copies of. Lifetime: until :meth:`close`."""
        return self._memory.fds

    def writer(self) -> RingWriter:
        """Return the writing end; frees what a dead predecessor was writing.

        There must be no other writer: start it when the process of the one before is known to be dead.
        """
        with self._memory.locked() as control:
            for entry in control.slots:
                if entry.state == layout.WRITING:
                    entry.state = layout.FREE
            self._memory.commit(control)
        return RingWriter(self._memory, self._policy)

    def reader(self, role: Role) -> RingReader:
        """Return a reading end; frees what a dead predecessor in this role held.

        What was shared with the predecessor is freed as well, and so is what it shared with others that they have
        not adopted: the message that tells them may never have been sent.
        """
        bit = role_bit(role)
        with self._memory.locked() as control:
            for entry in control.slots:
                if role == "worker" and entry.holders & bit:
                    control.abandoned += 1
                entry.offered &= bit  # offers that this role made
                entry.drop(bit)
            control.accepts[layout.ROLES.index(role)] = 0
            self._memory.slot_free.ring()
            self._memory.commit(control)
        return RingReader(self._memory, role)

    def counters(self) -> RingCounters:
        """Return the counters, all of one instant. Takes no lock and never waits; from any process and thread."""
        control = self._memory.snapshot()
        states = [entry.state for entry in control.slots]
        return RingCounters(
            frames=control.next_frame_id,
            superseded=control.superseded,
            no_slot=control.no_slot,
            abandoned=control.abandoned,
            epoch=control.epoch,
            pending=states.count(layout.READY),
            held=states.count(layout.HELD),
        )

    def close(self) -> None:
        """Give up this process's part of the ring. Safe to call twice, and while views of frames exist.

        Lifetime: views that were read before stay valid memory, but the ring no longer protects their content.
        """
        self._memory.close()
