"""Results of a controller that hold masks, which are decoded when first read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from streamseg.errors import ProtocolError
from streamseg.protocol.control import PixelBox, PixelPoint, Prompted, Rle, SnapshotObject, SnapshotResult
from streamseg.protocol.mask_codec import BoolMask, decode_mask


@dataclass(frozen=True)
class PromptResult:
    """The result of a prompt.

    Attributes:
        object_id: The object; 0 in a preview of a new one.
        label: Its name.
        new: The prompt started it, rather than correcting it.
        frame: Number of the prompted frame: the requested one, the one that it repeats, or the newest.
        newest: Number of the newest tracked frame; the object was tracked from ``frame`` up to it.
        size: (width, height) of ``frame`` in pixels.
        bbox: x, y, w, h of its mask on ``frame``; zeros if it is not seen.
        area: Pixels of its mask on ``frame``.
        score: The model's estimate of that mask's IoU, 0..1.
        presence: Probability that the object is visible on ``frame``, 0..1.
        rle: The encoded mask on ``frame``; None unless this is a preview.
        points_px: The points of the prompt as (x, y, label), in pixels of ``frame``; empty from daemons before 0.2.
        box_px: The box of the prompt as (x0, y0, x1, y1), in pixels of ``frame``; likewise.
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
    points_px: tuple[PixelPoint, ...] = ()
    box_px: PixelBox | None = None

    @classmethod
    def of(cls, result: Prompted) -> PromptResult:
        """Convert the result in a reply."""
        fields = msgspec.structs.asdict(result)
        return cls(rle=fields.pop("mask"), **fields)

    @cached_property
    def mask(self) -> BoolMask | None:
        """``bool [height, width]`` of the mask on ``frame``; None unless this is a preview.

        Raises:
            ProtocolError: the bytes are not a mask.
        """
        return _decode(self.rle, self.size) if self.rle is not None else None


@dataclass(frozen=True)
class ObjectSnapshot:
    """One object of a snapshot.

    Attributes:
        id: Its id.
        label: Its name.
        state: ``tracked``, ``occluded`` or ``lost``.
        prompts: Number of its prompts.
        bbox: x, y, w, h; zeros if it is not seen.
        area: Pixels.
        score: The model's estimate of the mask's IoU, 0..1.
        presence: Probability that the object is visible, 0..1.
        size: (width, height) of the frame in pixels.
        rle: The encoded mask; None if it is not seen.
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
        """Convert the result in a reply."""
        fields: dict[str, Any] = msgspec.structs.asdict(result)
        return cls(rle=fields.pop("mask"), size=size, **fields)

    @cached_property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame.

        Raises:
            ProtocolError: the bytes are not a mask.
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
        image_topic: Topic of its picture, which has the same frame number; published while it has subscribers.
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


def _decode(rle: Rle, size: tuple[int, int]) -> BoolMask:
    height, width = rle.size
    if (width, height) != size:
        raise ProtocolError(f"the mask is {width}x{height}, the frame {size[0]}x{size[1]}")
    return decode_mask(rle.counts.encode(), size, "coco_rle")
