"""The reader of a frame ring."""

from __future__ import annotations

import contextlib
from types import TracebackType

from streamseg.errors import RingClosedError, RingError
from streamseg.frame import Frame, Plane
from streamseg.ring import layout
from streamseg.ring.layout import Control, Role, SlotEntry, role_bit
from streamseg.ring.memory import RingMemory


class RingReader:
    """Reads frames of a ring in place. Returned by :meth:`FrameRing.reader`."""

    def __init__(self, memory: RingMemory, role: Role) -> None:
        self._memory = memory
        self._role = role
        self._bit = role_bit(role)

    def fileno(self) -> int:
        """Return a descriptor for polling that is readable while a frame may be ready.

        It never misses a frame, but may be readable once without one. :meth:`take` makes it unreadable when no frame
        is left; do not read from it.
        """
        return self._memory.frame_ready.fd

    def wait(self, timeout_s: float) -> bool:
        """Return whether a frame may be ready.

        Blocks: up to ``timeout_s``.
        """
        return self._memory.frame_ready.wait(timeout_s)

    def take(self) -> HeldFrame | None:
        """Hold and return the oldest ready frame; None if there is none. Does not wait.

        Lifetime: the frame's planes are views of shared memory, valid until it is released.
        """
        with self._memory.locked() as control:
            ready = [slot for slot, entry in enumerate(control.slots) if entry.state == layout.READY]
            if len(ready) <= 1:
                # The bell rings under the lock, so a later frame cannot be missed here.
                self._memory.frame_ready.silence()
            if not ready:
                return None
            slot = min(ready, key=lambda index: control.slots[index].frame_id)
            entry = control.slots[slot]
            entry.state = layout.HELD
            entry.holders = self._bit
            self._memory.commit(control)
        return HeldFrame(self._memory, self._role, slot, entry)

    def accept(self, max_held: int) -> None:
        """Set how many shared slots this role holds at most; 0: none."""
        if not 0 <= max_held <= self._memory.slots:
            raise RingError(f"max_held is {max_held}: expected 0 to {self._memory.slots}, the number of slots")
        with self._memory.locked() as control:
            control.accepts[layout.ROLES.index(self._role)] = max_held
            self._memory.commit(control)

    def adopt(self, slot: int, frame_id: int) -> HeldFrame | None:
        """Hold a frame that another role shared with this one.

        Returns:
            None if the offer is no longer valid, because either process was restarted meanwhile.
        """
        if not 0 <= slot < self._memory.slots:
            return None
        with self._memory.locked() as control:
            entry = control.slots[slot]
            if entry.frame_id != frame_id or not entry.offered & self._bit:
                return None
            entry.offered &= ~self._bit
            entry.holders |= self._bit
            self._memory.commit(control)
        return HeldFrame(self._memory, self._role, slot, entry)


class HeldFrame:
    """A frame in a slot that is not overwritten until it is released. A context manager that releases it.

    Attributes:
        frame: The frame, read-only. Lifetime: its planes are valid until :meth:`release`.
        slot: Number of its slot.
    """

    def __init__(self, memory: RingMemory, role: Role, slot: int, entry: SlotEntry) -> None:
        self._memory = memory
        self._bit = role_bit(role)
        self.slot = slot
        frame_format, stamps = layout.unpack_meta(memory.read_meta(slot))
        planes: tuple[Plane, ...] = memory.planes(slot, frame_format, writable=False)
        self.frame = Frame(entry.frame_id, entry.epoch, frame_format, planes, stamps)

    def share_with(self, role: Role) -> bool:
        """Share the slot with another role before releasing it.

        Send ``slot`` and ``frame.frame_id`` to that role, for its :meth:`RingReader.adopt`; :meth:`withdraw` if the
        message cannot be sent.

        Returns:
            False if that role holds as many slots as it accepts.
        """
        bit = role_bit(role)
        with self._memory.locked() as control:
            entry = self._own_entry(control)
            if entry is None:
                raise RingError(f"frame {self.frame.frame_id} was released: share it earlier")
            shared = sum(bool((other.holders | other.offered) & bit) for other in control.slots)
            if shared >= control.accepts[layout.ROLES.index(role)]:
                return False
            entry.offered |= bit
            self._memory.commit(control)
            return True

    def withdraw(self, role: Role) -> None:
        """Withdraw an offer to ``role``. A slot that it has adopted stays held."""
        with self._memory.locked() as control:
            entry = self._own_entry(control)
            if entry is not None:
                entry.offered &= ~role_bit(role)
                self._memory.commit(control)

    def release(self) -> None:
        """Release the slot. Safe to call twice, and after the ring was closed in another thread."""
        with contextlib.suppress(RingClosedError), self._memory.locked() as control:
            entry = self._own_entry(control)
            if entry is None:
                return
            if entry.drop(self._bit):
                self._memory.slot_free.ring()
            self._memory.commit(control)

    def _own_entry(self, control: Control) -> SlotEntry | None:
        """Return the slot's entry; None if this role no longer holds it (released, or freed by a successor)."""
        entry = control.slots[self.slot]
        return entry if entry.frame_id == self.frame.frame_id and entry.holders & self._bit else None

    def __enter__(self) -> HeldFrame:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
