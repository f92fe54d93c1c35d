"""Where each byte of a frame ring lies. Pure: packs and unpacks, no I/O. ``docs/frame_ring.md`` shows the tables.

The control block (who owns which slot, and all counters) exists twice; one byte, the selector, says which copy
counts. A change is written to the other copy and then the selector flips: a single byte store, so that a process
that is killed at any instant leaves either the old state or the new one, never half of each.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal, get_args

from streamseg.frame import ColorMatrix, FrameFormat, FrameStamps, PixelFormat, StampSource

Role = Literal["worker", "publisher"]
Policy = Literal["newest", "every"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
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
"""Anybody's. The writer may claim it."""
WRITING: Final = 1
"""The writer's, until it publishes."""
READY: Final = 2
"""A frame that nobody has taken yet."""
HELD: Final = 3
"""A frame that was taken and that at least one role holds or is offered."""

_COUNTERS = struct.Struct("<5Q2B6x")
_SLOT = struct.Struct("<3BxIQ")
_CHECKSUM = struct.Struct("<I")
_META = struct.Struct("<II5B3x6q")

assert _META.size == META_BYTES
assert META_AT + MAX_SLOTS * META_BYTES <= HEADER_BYTES
assert CONTROL_AT[0] + _COUNTERS.size + MAX_SLOTS * _SLOT.size + _CHECKSUM.size <= CONTROL_AT[1]


def role_bit(role: Role) -> int:
    """Return the bit that stands for ``role`` in ``holders`` and ``offered``."""
    return 1 << ROLES.index(role)


@dataclass(slots=True)
class SlotEntry:
    """Who owns a slot.

    Attributes:
        state: ``FREE``, ``WRITING``, ``READY`` or ``HELD``.
        holders: A bit for each role that reads it now.
        offered: A bit for each role that it was shared with and that has not adopted it yet.
        frame_id: Of the frame in it; stale while it is free or written.
        epoch: Likewise.
    """

    state: int = FREE
    holders: int = 0
    offered: int = 0
    frame_id: int = 0
    epoch: int = 0

    def drop(self, bits: int) -> bool:
        """Take the roles ``bits`` off this slot; return whether that made it free."""
        self.holders &= ~bits
        self.offered &= ~bits
        if self.state != HELD or self.holders or self.offered:
            return False
        self.state = FREE
        return True


@dataclass(slots=True)
class Control:
    """All of a ring that changes, but for the frames themselves.

    Attributes:
        next_frame_id: Also the number of frames so far, those without a slot included.
        epoch: Present epoch.
        superseded: Frames that a newer one pushed out before anybody took them.
        no_slot: Frames that found every slot held.
        abandoned: Frames that a worker held when it died.
        accepts: For each of ``ROLES``: how many slots it is willing to hold by being shared with.
        slots: One entry for each slot.
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
        """Turn into bytes that end in their checksum."""
        parts = [
            _COUNTERS.pack(self.next_frame_id, self.epoch, self.superseded, self.no_slot, self.abandoned, *self.accepts)
        ]
        parts += [_SLOT.pack(s.state, s.holders, s.offered, s.epoch, s.frame_id) for s in self.slots]
        payload = b"".join(parts)
        return payload + _CHECKSUM.pack(zlib.crc32(payload))

    @classmethod
    def unpack(cls, data: bytes) -> Control | None:
        """Turn bytes back, or return None if their checksum is wrong (they were read while they changed)."""
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
    """Return how long a packed :class:`Control` is."""
    return _COUNTERS.size + slots * _SLOT.size + _CHECKSUM.size


def pack_meta(frame_format: FrameFormat, stamps: FrameStamps) -> bytes:
    """Turn what a slot's frame is into its 64 bytes."""
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
    )


def unpack_meta(data: bytes) -> tuple[FrameFormat, FrameStamps]:
    """Turn a slot's 64 bytes back."""
    width, height, pixel_format, matrix, full_range, t_source, has_pts, *numbers = _META.unpack(data)
    t_wall_ns, t_captured_ns, t_decoded_ns, pts, numerator, denominator = numbers
    return (
        FrameFormat(width, height, PIXEL_FORMATS[pixel_format], MATRICES[matrix], bool(full_range)),
        FrameStamps(
            t_wall_ns=t_wall_ns,
            t_source=STAMP_SOURCES[t_source],
            t_captured_ns=t_captured_ns,
            t_decoded_ns=t_decoded_ns,
            pts=pts if has_pts else None,
            time_base=(numerator, denominator),
        ),
    )
