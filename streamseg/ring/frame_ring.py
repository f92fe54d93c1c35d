"""A ring of frames in shared memory: one writing process, several reading processes, one copy of each frame.

``docs/architecture.md`` explains the design, ``docs/frame_ring.md`` shows the bytes. Ours because a queue or a socket
copies each frame several times (``docs/frame_ring.md``, "What it costs"), and ``multiprocessing.shared_memory`` leaves
named files behind when processes are killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamseg.errors import RingError
from streamseg.ring import layout
from streamseg.ring.layout import PROMPTER_ROLES, Policy, Role, role_bit
from streamseg.ring.memory import RingMemory
from streamseg.ring.reader import HeldFrame, RingReader
from streamseg.ring.writer import RingWriter

__all__ = ["FrameRing", "HeldFrame", "Policy", "RingCounters", "RingReader", "RingShape", "RingWriter", "Role"]

DEFAULT_SLOT_BYTES: Final = 64 * 1024 * 1024
"""Fits 8K yuv420p. Memory is only allocated when it is used."""

_OF_PROMPTERS: Final = sum(map(role_bit, PROMPTER_ROLES))


@dataclass(frozen=True, slots=True)
class RingCounters:
    """Counters of a ring.

    Attributes:
        frames: Frames written, including dropped ones; also the next ``frame_id``.
        superseded: Frames replaced by a newer one before a reader took them.
        no_slot: Frames dropped because every slot was held.
        abandoned: Frames that a worker held when it died.
        epoch: Current epoch.
        pending: Frames waiting for a reader.
        held: Slots held by, or offered to, the worker or the publisher.
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
        """Frames dropped by the ring, for any reason."""
        return self.superseded + self.no_slot + self.abandoned


@dataclass(frozen=True, slots=True)
class RingShape:
    """What another process needs to open a ring, besides its descriptors."""

    policy: Policy
    slots: int
    slot_bytes: int


class FrameRing:
    """A ring of frames between processes: one writer, and one reader per role.

    The supervisor creates it and passes it to children in ``Process(args=...)`` of the spawn context, any number of
    times. A running child gets :attr:`shape` and :attr:`fds`, for :meth:`of`. A process may be killed at any instant:
    its successor's :meth:`writer` or :meth:`reader` repairs the ring.

    Args:
        policy: ``newest``: a frame replaces the waiting one, and the writer never waits. ``every``: no frame is
            dropped, and the writer waits for a free slot.
        slots: Number of slots, 2 to 16.
        slot_bytes: Size of the largest frame; rounded up to whole pages.
        after: Counters of an earlier ring of the same stream, which this one continues.

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
            raise RingError(f"slots is {slots}: expected {layout.MIN_SLOTS} to {layout.MAX_SLOTS}")
        if slot_bytes < 1:
            raise RingError(f"slot_bytes is {slot_bytes}: expected the size of the largest frame")
        self._policy = policy
        self._memory = RingMemory(slots, slot_bytes)
        if after is not None:
            self.continue_from(after)

    def continue_from(self, counters: RingCounters) -> None:
        """Continue the numbers of an earlier ring of the same stream. Call it before the first frame is written."""
        with self._memory.locked() as control:
            control.next_frame_id, control.epoch = counters.frames, counters.epoch
            control.superseded, control.no_slot = counters.superseded, counters.no_slot
            control.abandoned = counters.abandoned
            self._memory.commit(control)

    @classmethod
    def of(cls, shape: RingShape, fds: Sequence[int]) -> FrameRing:
        """Open a ring of another process; ``fds`` are this process's own copies of its descriptors."""
        ring = cls.__new__(cls)
        ring._policy = shape.policy
        ring._memory = RingMemory.of(shape.slots, shape.slot_bytes, fds)
        return ring

    @property
    def shape(self) -> RingShape:
        """Parameters for :meth:`of` in another process."""
        return RingShape(self._policy, self._memory.slots, self._memory.slot_bytes)

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors for :meth:`of` in another process. Lifetime: until :meth:`close`."""
        return self._memory.fds

    def writer(self) -> RingWriter:
        """Return the writer. Frees the slot that a dead predecessor was writing.

        There must be no other writer: call it once the process of the previous one is known to be dead.
        """
        with self._memory.locked() as control:
            for entry in control.slots:
                if entry.state == layout.WRITING:
                    entry.state = layout.FREE
            self._memory.commit(control)
        return RingWriter(self._memory, self._policy)

    def reader(self, role: Role) -> RingReader:
        """Return the reader of a role. Frees the slots that a dead predecessor in this role held.

        Also withdraws slots that were shared with the predecessor, and slots that it shared with others and they have
        not adopted yet: the message about them may never have been sent.
        """
        bit = role_bit(role)
        with self._memory.locked() as control:
            for entry in control.slots:
                if role == "worker" and entry.holders & bit:
                    control.abandoned += 1
                entry.offered &= bit  # withdraw the offers of this role
                entry.drop(bit)
            control.accepts[layout.ROLES.index(role)] = 0
            self._memory.slot_free.ring()
            self._memory.commit(control)
        return RingReader(self._memory, role)

    def counters(self) -> RingCounters:
        """Return a consistent snapshot of the counters. Lock-free and non-blocking, from any process and thread."""
        control = self._memory.snapshot()
        states = [entry.state for entry in control.slots]
        held = [entry for entry in control.slots if (entry.holders | entry.offered) & ~_OF_PROMPTERS]
        return RingCounters(
            frames=control.next_frame_id,
            superseded=control.superseded,
            no_slot=control.no_slot,
            abandoned=control.abandoned,
            epoch=control.epoch,
            pending=states.count(layout.READY),
            held=sum(entry.state == layout.HELD for entry in held),
        )

    def close(self) -> None:
        """Close the ring in this process. Safe to call twice, and while views of frames exist.

        Lifetime: existing views stay valid memory, but the ring no longer protects their content.
        """
        self._memory.close()
