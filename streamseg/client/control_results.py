"""Snapshots returned by a controller; masks are decoded when first read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from streamseg.protocol.mask_codec import BoolMask, decode_frame_rle
from streamseg.protocol.results import MaskedEntry, SnapshotResult


class ObjectSnapshot(MaskedEntry, frozen=True, kw_only=True, dict=True):
    """One object of a snapshot.

    Attributes:
        size: (width, height) of the frame in pixels.
    """

    size: tuple[int, int]

    @classmethod
    def of(cls, entry: MaskedEntry, size: tuple[int, int]) -> ObjectSnapshot:
        """Convert an object in a reply."""
        return cls(**msgspec.structs.asdict(entry), size=size)

    @cached_property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame.

        Raises:
            ProtocolError: the bytes are not a mask.
        """
        if self.rle is None:
            return np.zeros((self.size[1], self.size[0]), np.bool_)
        return decode_frame_rle(self.rle, self.size)


@dataclass(frozen=True)
class Snapshot:
    """The newest tracked frame.

    Attributes:
        stream: Id of the stream.
        frame: Number of the frame.
        epoch: Epoch of the stream.
        size: (width, height) in pixels.
        t_wall_ns: When it was captured, Unix epoch.
        image_topic: Topic of its picture, with the same frame number; published while it has subscribers.
        objects: Its objects, oldest first.
    """

    stream: str
    frame: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: int
    image_topic: str
    objects: tuple[ObjectSnapshot, ...]

    @classmethod
    def of(cls, result: SnapshotResult) -> Snapshot:
        """Convert the result in a reply."""
        fields = msgspec.structs.asdict(result)
        fields["t_wall_ns"] = int(result.t_wall_ns)
        fields["objects"] = tuple(ObjectSnapshot.of(obj, result.size) for obj in result.objects)
        return cls(**fields)
