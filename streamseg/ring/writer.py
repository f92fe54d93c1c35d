"""The writer of a frame ring."""

from __future__ import annotations

import time

import numpy as np

from streamseg.errors import FrameTooLargeError, RingError, RingFullError
from streamseg.frame import SourceFrame
from streamseg.ring import layout
from streamseg.ring.layout import Control, Policy, SlotEntry
from streamseg.ring.memory import RingMemory


class RingWriter:
    """Writes frames into a ring. Used by one thread. Returned by :meth:`FrameRing.writer`."""

    def __init__(self, memory: RingMemory, policy: Policy) -> None:
        self._memory = memory
        self._policy = policy

    def write(self, frame: SourceFrame, timeout_s: float = 0.0) -> int | None:
        """Copy a frame into the ring.

        Blocks: policy ``every``: up to ``timeout_s`` for a free slot. Policy ``newest`` does not wait.

        Returns:
            Its ``frame_id``; None if it was dropped because every slot is held (policy ``newest`` only). A dropped
            frame uses up an id, so that readers see the gap.

        Raises:
            FrameTooLargeError: the frame is larger than a slot.
            RingFullError: policy ``every``: no slot was freed in time. No id is used up: write the frame again.
            RingError: the planes do not match the format.
        """
        self._check(frame)
        slot = self._claim_newest() if self._policy == "newest" else self._claim_every(timeout_s)
        if slot is None:
            return None
        try:
            for target, plane in zip(self._memory.planes(slot, frame.format, writable=True), frame.planes, strict=True):
                np.copyto(target, plane)
            self._memory.write_meta(slot, layout.pack_meta(frame.format, frame.stamps))
        except BaseException:
            self._give_up(slot)
            raise
        return self._publish(slot)

    def use_policy(self, policy: Policy) -> None:
        """Change the policy from the next frame on. Only the writer uses it.

        The ring exists before its policy is known: a server's address may be a camera or a file, and opening it tells.
        """
        self._policy = policy

    def begin_epoch(self) -> int:
        """Start the next epoch for all frames written from now on, and return its number."""
        with self._memory.locked() as control:
            control.epoch += 1
            self._memory.commit(control)
            return control.epoch

    def _check(self, frame: SourceFrame) -> None:
        if frame.format.nbytes > self._memory.slot_bytes:
            raise FrameTooLargeError(
                f"a frame of {frame.format.width}x{frame.format.height} {frame.format.pixel_format} has "
                f"{frame.format.nbytes} bytes, the frame ring carries {self._memory.slot_bytes}: use a smaller source"
            )
        # Checked here, because copyto would silently broadcast a plane of one row to all rows.
        shapes = tuple(plane.shape for plane in frame.planes)
        if shapes != frame.format.plane_shapes or any(plane.dtype != np.uint8 for plane in frame.planes):
            types = ", ".join(f"{plane.dtype} {list(plane.shape)}" for plane in frame.planes)
            raise RingError(f"planes are {types}: {frame.format} needs uint8 {frame.format.plane_shapes}")

    def _claim_newest(self) -> int | None:
        with self._memory.locked() as control:
            slot = _first(control, layout.FREE)
            if slot is None:
                slot = _first(control, layout.READY)  # not held: its frame would be superseded anyway
                if slot is not None:
                    control.superseded += 1
            if slot is None:
                control.no_slot += 1
                control.next_frame_id += 1
            else:
                control.slots[slot].state = layout.WRITING
            self._memory.commit(control)
            return slot

    def _claim_every(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while True:
            with self._memory.locked() as control:
                slot = _first(control, layout.FREE)
                if slot is not None:
                    control.slots[slot].state = layout.WRITING
                    self._memory.commit(control)
                    return slot
                # No slot can be freed while we hold the lock, so a later ring of the bell is not lost.
                self._memory.slot_free.silence()
            if not self._memory.slot_free.wait(deadline - time.monotonic()):
                raise RingFullError(
                    f"no slot of the frame ring was freed within {timeout_s} s: readers hold or have yet to take all "
                    f"{self._memory.slots} slots"
                )

    def _publish(self, slot: int) -> int:
        with self._memory.locked() as control:
            if self._policy == "newest":
                for entry in control.slots:
                    if entry.state == layout.READY:
                        entry.state = layout.FREE
                        control.superseded += 1
            frame_id = control.next_frame_id
            control.slots[slot] = SlotEntry(layout.READY, frame_id=frame_id, epoch=control.epoch)
            control.next_frame_id += 1
            # The bell first: if killed between the two, this writer leaves a spurious wake-up, not a lost one.
            self._memory.frame_ready.ring()
            self._memory.commit(control)
            return frame_id

    def _give_up(self, slot: int) -> None:
        with self._memory.locked() as control:
            control.slots[slot].state = layout.FREE
            self._memory.commit(control)


def _first(control: Control, state: int) -> int | None:
    """Return the lowest slot in ``state``: reusing the same few slots leaves the others unallocated."""
    return next((slot for slot, entry in enumerate(control.slots) if entry.state == state), None)
