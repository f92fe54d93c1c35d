"""A frame as one binary message for the browser: u32 length of the header (little-endian), JSON header, JPEG, masks.

Masks are always ``coco_rle`` inside their ``roi``, even if the daemon publishes another encoding: browsers cannot
decompress Zstandard.
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


class MaskHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object's mask lies in the frame. The bytes of the masks follow in the order of the objects."""

    roi: Box
    bytes: Annotated[int, Meta(description="Length of the encoded mask; 0 without one.")]


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a frame.

    Attributes:
        n: Sequence number of the message; the browser acknowledges it.
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        epoch: Increases at each reconnect, size change or time jump.
        frame: Number of the frame; prompts refer to it.
        repeats: Frame these masks were computed on (see docs/protocol.md); None: this one.
        pts: Time stamp of the source.
        size: Width and height in pixels.
        sample_aspect: Width to height of a pixel as displayed; masks and points are in stored pixels.
        t_captured_ns: Capture time on the daemon's monotonic clock.
        age_ms: Age of the frame when this message was made.
        screen_ms: Median time of the last frames from capture to acknowledgment; None before the first.
        jpeg_bytes: Length of the picture.
        objects: Oldest first.
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
    sample_aspect: tuple[int, int]
    t_captured_ns: str
    age_ms: float
    screen_ms: float | None
    jpeg_bytes: int
    objects: list[ObjectResponse]
    masks: list[MaskHeader]


_encoder = msgspec.json.Encoder()


def frame_message(pair: FramePair, view: StreamView, *, n: int, age_ms: float, screen_ms: float | None) -> bytes:
    """Encode a frame.

    Args:
        pair: Picture and masks.
        view: State of the stream; knows the ages of the objects.
        n: Sequence number of the message.
        age_ms: Current age of the frame.
        screen_ms: Median time of the last frames from capture to acknowledgment.

    Raises:
        ProtocolError: A mask that came as ``bits_zstd`` cannot be decoded.
    """
    masks = pair.masks
    encoded_masks = [_to_rle(obj) for obj in masks.objects]
    header = FrameHeader(
        n=n,
        stream=masks.stream,
        session=masks.session,
        epoch=masks.epoch,
        frame=masks.frame,
        repeats=masks.repeats,
        pts=masks.pts,
        size=masks.size,
        sample_aspect=masks.sample_aspect,
        t_captured_ns=str(masks.t_captured_ns),
        age_ms=round(age_ms, 1),
        screen_ms=screen_ms,
        jpeg_bytes=len(pair.image.jpeg),
        objects=[ObjectResponse.from_message(obj, view.age_s(obj.id)) for obj in masks.objects],
        masks=[
            MaskHeader(roi=obj.roi, bytes=len(encoded))
            for obj, encoded in zip(masks.objects, encoded_masks, strict=True)
        ],
    )
    encoded_header = _encoder.encode(header)
    return b"".join((struct.pack("<I", len(encoded_header)), encoded_header, pair.image.jpeg, *encoded_masks))


def _to_rle(obj: ObjectMask) -> bytes:
    if obj.encoding in ("coco_rle", "none"):
        return obj.data
    return encode_rle(obj.crop)
