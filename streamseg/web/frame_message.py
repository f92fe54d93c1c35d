"""A frame as one binary message for a browser: u32 length of the header (little-endian), JSON header, JPEG, masks.

Masks are ``coco_rle`` of their ``roi`` whatever the daemon publishes, since a browser has nothing to unpack Zstandard.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec
from msgspec import Meta

from streamseg.client import FramePair, ObjectMask
from streamseg.protocol.mask_codec import encode_rle
from streamseg.protocol.published import Box
from streamseg.web.responses import ObjectResponse
from streamseg.web.stream_view import StreamView


class MaskResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object's mask lies; its bytes follow in the order of the objects."""

    roi: Box
    bytes: Annotated[int, Meta(description="Length of its part; 0 without a mask.")]


class FrameResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a frame.

    Attributes:
        n: Number of the message, to be acknowledged.
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        epoch: Rises at each reconnect, size change or time jump.
        frame: Number of the frame: prompts carry it.
        repeats: Frame whose masks these are, as in docs/protocol.md; None: its own.
        pts: The source's own stamp.
        size: Width and height in pixels.
        t_captured_ns: Monotonic clock of the daemon's machine, as in docs/protocol.md.
        age_ms: Age of the frame when this message was made.
        screen_ms: Median of the last frames from capture to acknowledgement; None before the first.
        jpeg_bytes: Length of the picture.
        objects: In order of age.
        masks: One for each object.
    """

    type: str = "frame"
    n: int
    stream: str
    session: str
    epoch: int
    frame: int
    repeats: int | None
    pts: int | None
    size: tuple[int, int]
    t_captured_ns: str
    age_ms: float
    screen_ms: float | None
    jpeg_bytes: int
    objects: list[ObjectResponse]
    masks: list[MaskResponse]


_encoder = msgspec.json.Encoder()


def frame_message(pair: FramePair, view: StreamView, *, n: int, age_ms: float, screen_ms: float | None) -> bytes:
    """Return the message for a frame.

    Args:
        pair: Picture and masks.
        view: Of its stream, for the objects' ages.
        n: Number of the message.
        age_ms: Age of the frame now.
        screen_ms: Age of the last frames when they were on the screen.

    Raises:
        ProtocolError: a mask cannot be decoded, which is needed where it came as ``bits_zstd``.
    """
    masks = pair.masks
    parts = [_rle(obj) for obj in masks.objects]
    header = FrameResponse(
        n=n,
        stream=masks.stream,
        session=masks.session,
        epoch=masks.epoch,
        frame=masks.frame,
        repeats=masks.repeats,
        pts=masks.pts,
        size=masks.size,
        t_captured_ns=str(masks.t_captured_ns),
        age_ms=round(age_ms, 1),
        screen_ms=screen_ms,
        jpeg_bytes=len(pair.image.jpeg),
        objects=[ObjectResponse.of(obj, view.age_s(obj.id)) for obj in masks.objects],
        masks=[MaskResponse(roi=obj.roi, bytes=len(part)) for obj, part in zip(masks.objects, parts, strict=True)],
    )
    encoded = _encoder.encode(header)
    return b"".join((struct.pack("<I", len(encoded)), encoded, pair.image.jpeg, *parts))


def _rle(obj: ObjectMask) -> bytes:
    if obj.encoding in ("coco_rle", "none"):
        return obj.data
    return encode_rle(obj.crop)
