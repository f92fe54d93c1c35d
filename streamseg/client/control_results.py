"""What a controller's methods return where masks are concerned: they are decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from streamseg.errors import ProtocolError
from streamseg.protocol.control import Prompted, Rle, SnapshotObject, SnapshotResult
from streamseg.protocol.mask_codec import BoolMask, decode_mask


@dataclass(frozen=True)
class PromptResult:
    """What came of a prompt.

    Attributes:
        object_id: The object; 0 in a preview of a new one.
        label: Its name.
        new: The prompt started it.
        frame: Number of the frame that was prompted: the one asked for, the one that it repeats, or the newest.
        newest: Number of the newest tracked frame, up to which the object was followed from ``frame``.
        size: (width, height) of ``frame`` in pixels.
        bbox: x, y, w, h of its mask on ``frame``; zeros if nothing is seen.
        area: Pixels of its mask on ``frame``.
        score: The model's estimate of that mask's IoU, 0..1.
        presence: Probability that the object is visible on ``frame``, 0..1.
        rle: The mask on ``frame`` as it came; None unless this is a preview.
    """

    object_id: int
    label: str
    new: bool
    frame: int
    newest: int
    size: tuple[int, int]
    bbox: tuple[int, int, int, int]
    area: int
    score: float
    presence: float
    rle: Rle | None = field(default=None, repr=False)

    @classmethod
    def of(cls, result: Prompted) -> PromptResult:
        """Take what came over the wire."""
        fields = msgspec.structs.asdict(result)
        return cls(rle=fields.pop("mask"), **fields)

    @cached_property
    def mask(self) -> BoolMask | None:
        """``bool [height, width]`` of the mask on ``frame``; None unless this is a preview.

        Raises:
            ProtocolError: the bytes are no mask.
        """
        return _decode(self.rle, self.size) if self.rle is not None else None


@dataclass(frozen=True)
class ObjectSnapshot:
    """One object of a snapshot.

    Attributes:
        id: Its id.
        label: Its name.
        state: ``tracked``, ``occluded`` or ``lost``.
        prompts: How many prompts it has.
        bbox: x, y, w, h; zeros if nothing is seen.
        area: Pixels.
        score: The model's estimate of the mask's IoU, 0..1.
        presence: Probability that the object is visible, 0..1.
        size: (width, height) of the frame in pixels.
        rle: Its mask as it came; None if nothing is seen.
    """

    id: int
    label: str
    state: str
    prompts: int
    bbox: tuple[int, int, int, int]
    area: int
    score: float
    presence: float
    size: tuple[int, int]
    rle: Rle | None = field(repr=False)

    @classmethod
    def of(cls, result: SnapshotObject, size: tuple[int, int]) -> ObjectSnapshot:
        """Take what came over the wire."""
        fields: dict[str, Any] = msgspec.structs.asdict(result)
        return cls(rle=fields.pop("mask"), size=size, **fields)

    @cached_property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame.

        Raises:
            ProtocolError: the bytes are no mask.
        """
        if self.rle is None:
            return np.zeros((self.size[1], self.size[0]), np.bool_)
        return _decode(self.rle, self.size)


@dataclass(frozen=True)
class Snapshot:
    """The newest tracked frame.

    Attributes:
        stream: Id of the stream.
        frame: Number of the frame.
        epoch: Of the stream.
        size: (width, height) in pixels.
        t_wall_ns: When it was captured, Unix epoch.
        image_topic: Where its picture is published, under the same frame number, while somebody subscribes.
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
        """Take what came over the wire."""
        fields = msgspec.structs.asdict(result)
        fields["t_wall_ns"] = int(result.t_wall_ns)
        fields["objects"] = tuple(ObjectSnapshot.of(obj, result.size) for obj in result.objects)
        return cls(**fields)


def _decode(rle: Rle, size: tuple[int, int]) -> BoolMask:
    height, width = rle.size
    if (width, height) != size:
        raise ProtocolError(f"the mask is {width}x{height}, the frame {size[0]}x{size[1]}")
    return decode_mask(rle.counts.encode(), size, "coco_rle")
