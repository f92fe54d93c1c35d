"""Byte layout of a frame ring. Pure packing and unpacking, no I/O. ``docs/frame_ring.md`` shows the tables.

The control block (owners of the slots, counters) exists twice; one byte, the selector, tells which copy is active. A
change is written to the inactive copy, then the selector flips. That is a single byte store, so a process killed at
any instant leaves either the old state or the new one, never a mix.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal, get_args

from streamseg.frame import ColorMatrix, FrameFormat, FrameStamps, PixelFormat, StampSource

Role = Literal["worker", "publisher", "prompter1", "prompter2", "prompter3", "prompter4"]
Policy = Literal["newest", "every"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
PROMPTER_ROLES: Final = ROLES[2:]
"""Roles of a stream's prompters, with which the worker shares frames."""
PIXEL_FORMATS: Final[tuple[PixelFormat, ...]] = get_args(PixelFormat)
MATRICES: Final[tuple[ColorMatrix, ...]] = get_args(ColorMatrix)
STAMP_SOURCES: Final[tuple[StampSource, ...]] = get_args(StampSource)

MIN_SLOTS: Final = 2
MAX_SLOTS: Final = 16

HEADER_BYTES: Final = 4096
SELECTOR_AT: Final = 0
CONTROL_AT: Final = (512, 1024)
META_AT: Final = 2048
META_BYTES: Final = 64

FREE: Final = 0
"""Free for the writer to claim."""
WRITING: Final = 1
"""Being written."""
READY: Final = 2
"""Holds a frame that no reader has taken yet."""
HELD: Final = 3
"""Holds a frame that at least one role holds or is offered."""

_COUNTERS = struct.Struct("<5Q6B2x")
_SLOT = struct.Struct("<3BxIQ")
_CHECKSUM = struct.Struct("<I")
_META = struct.Struct("<II5B3x4q4I")

assert _META.size == META_BYTES
assert META_AT + MAX_SLOTS * META_BYTES <= HEADER_BYTES
assert CONTROL_AT[0] + _COUNTERS.size + MAX_SLOTS * _SLOT.size + _CHECKSUM.size <= CONTROL_AT[1]


def role_bit(role: Role) -> int:
    """Return the bit of ``role`` in ``holders`` and ``offered``."""
    return 1 << ROLES.index(role)


@dataclass(slots=True)
class SlotEntry:
    """State and owners of a slot.

    Attributes:
        state: ``FREE``, ``WRITING``, ``READY`` or ``HELD``.
        holders: Bits of the roles that are reading it.
        offered: Bits of the roles that it was shared with and that have not adopted it yet.
        frame_id: Id of its frame; stale while the slot is free or being written.
        epoch: Epoch of its frame; likewise.
    """

    state: int = FREE
    holders: int = 0
    offered: int = 0
    frame_id: int = 0
    epoch: int = 0

    def drop(self, bits: int) -> bool:
        """Remove the roles ``bits`` from this slot; return whether that freed it."""
        self.holders &= ~bits
        self.offered &= ~bits
        if self.state != HELD or self.holders or self.offered:
            return False
        self.state = FREE
        return True


@dataclass(slots=True)
class Control:
    """The mutable state of a ring, without the frames.

    Attributes:
        next_frame_id: Also the number of frames so far, including those without a slot.
        epoch: Current epoch.
        superseded: Frames replaced by a newer one before a reader took them.
        no_slot: Frames dropped because every slot was held.
        abandoned: Frames that a worker held when it died.
        accepts: For each of ``ROLES``, the maximum number of shared slots it holds.
        slots: One entry per slot.
    """

    next_frame_id: int
    epoch: int
    superseded: int
    no_slot: int
    abandoned: int
    accepts: list[int]
    slots: list[SlotEntry]

    @classmethod
    def empty(cls, slots: int) -> Control:
        """Return the state of a new ring."""
        return cls(0, 0, 0, 0, 0, [0] * len(ROLES), [SlotEntry() for _ in range(slots)])

    def pack(self) -> bytes:
        """Pack into bytes that end with their checksum."""
        parts = [
            _COUNTERS.pack(self.next_frame_id, self.epoch, self.superseded, self.no_slot, self.abandoned, *self.accepts)
        ]
        parts += [_SLOT.pack(s.state, s.holders, s.offered, s.epoch, s.frame_id) for s in self.slots]
        payload = b"".join(parts)
        return payload + _CHECKSUM.pack(zlib.crc32(payload))

    @classmethod
    def unpack(cls, data: bytes) -> Control | None:
        """Unpack bytes; return None if the checksum is wrong, because they changed while they were read."""
        payload = data[: -_CHECKSUM.size]
        if _CHECKSUM.unpack_from(data, len(payload))[0] != zlib.crc32(payload):
            return None
        next_frame_id, epoch, superseded, no_slot, abandoned, *accepts = _COUNTERS.unpack_from(payload)
        entries = [
            SlotEntry(state, holders, offered, frame_id, epoch)
            for state, holders, offered, epoch, frame_id in _SLOT.iter_unpack(payload[_COUNTERS.size :])
        ]
        return cls(next_frame_id, epoch, superseded, no_slot, abandoned, accepts, entries)


def control_bytes(slots: int) -> int:
    """Return the size of a packed :class:`Control`."""
    return _COUNTERS.size + slots * _SLOT.size + _CHECKSUM.size


def pack_meta(frame_format: FrameFormat, stamps: FrameStamps) -> bytes:
    """Pack a frame's description into 64 bytes."""
    return _META.pack(
        frame_format.width,
        frame_format.height,
        PIXEL_FORMATS.index(frame_format.pixel_format),
        MATRICES.index(frame_format.matrix),
        frame_format.full_range,
        STAMP_SOURCES.index(stamps.t_source),
        stamps.pts is not None,
        stamps.t_wall_ns,
        stamps.t_captured_ns,
        stamps.t_decoded_ns,
        0 if stamps.pts is None else stamps.pts,
        *stamps.time_base,
        *frame_format.sample_aspect,
    )


def unpack_meta(data: bytes) -> tuple[FrameFormat, FrameStamps]:
    """Unpack a frame's description."""
    width, height, pixel_format, matrix, full_range, t_source, has_pts, *numbers = _META.unpack(data)
    t_wall_ns, t_captured_ns, t_decoded_ns, pts, numerator, denominator, *aspect = numbers
    return (
        FrameFormat(
            width, height, PIXEL_FORMATS[pixel_format], MATRICES[matrix], bool(full_range), (aspect[0], aspect[1])
        ),
        FrameStamps(
            t_wall_ns=t_wall_ns,
            t_source=STAMP_SOURCES[t_source],
            t_captured_ns=t_captured_ns,
            t_decoded_ns=t_decoded_ns,
            pts=pts if has_pts else None,
            time_base=(numerator, denominator),
        ),
    )
