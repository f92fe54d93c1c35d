"""Converts message parts to results, and checks every field. No I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    FrameMessage,
    ImageFrame,
    MaskFrame,
    Message,
    ObjectMask,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.errors import ProtocolError
from streamseg.frame import SQUARE
from streamseg.protocol.clock import clock_name
from streamseg.protocol.mask_codec import MAX_PIXELS
from streamseg.protocol.published import (
    DaemonStatus,
    Event,
    FrameHeader,
    Image,
    MaskObject,
    Masks,
    ObjectInfo,
    Objects,
    Status,
)
from streamseg.protocol.topics import DAEMON, TOPIC

_MAX_NS: Final = 20

_masks = msgspec.json.Decoder(Masks)
_objects = msgspec.json.Decoder(Objects)
_image = msgspec.json.Decoder(Image)
_event = msgspec.json.Decoder(Event)
_status = msgspec.json.Decoder(Status)
_daemon = msgspec.json.Decoder(DaemonStatus)


def assemble(parts: Sequence[bytes]) -> Message:
    """Convert a message's parts to a result. Extra parts and unknown fields are ignored.

    Raises:
        ProtocolError: this is not a message of protocol v1.
    """
    match = TOPIC.fullmatch(parts[0]) if len(parts) > 1 else None
    if match is None:
        raise ProtocolError("not a topic of protocol v1 with its header")
    rate, stream, kind = match[1], match[2].decode(), match[3].decode()
    header = parts[1]
    try:
        result: Message
        match kind:
            case "masks":
                result = _mask_frame(_masks.decode(header), parts)
            case "objects":
                result = _objects_frame(_objects.decode(header))
            case "image":
                result = _image_frame(_image.decode(header), parts)
            case "events":
                result = _event_message(_event.decode(header))
            case _ if stream == DAEMON:
                result = _daemon_message(_daemon.decode(header))
            case _:
                result = _status_message(_status.decode(header))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{kind} of {stream}: {error}") from None
    if rate is not None:
        if not isinstance(result, FrameMessage):
            raise ProtocolError(f"{kind} has no topic with a rate")
        result = replace(result, rate_hz=_rate(rate))
    if result.stream != stream:
        raise ProtocolError(f"{kind}: the topic says {stream!r}, the header {result.stream!r}")
    return result


def _rate(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise ProtocolError(f"{text.decode()!r} is not a rate") from None


def _mask_frame(header: Masks, parts: Sequence[bytes]) -> MaskFrame:
    fields = _frame_fields(header)
    objects = tuple(_object_mask(obj, header.size, parts) for obj in header.objects)
    return MaskFrame(**fields, objects=objects, repeats=header.repeats)


def _object_mask(obj: MaskObject, size: tuple[int, int], parts: Sequence[bytes]) -> ObjectMask:
    roi, encoding, data = (0, 0, 0, 0), "none", b""
    if obj.part is not None:
        roi, encoding = obj.roi, obj.encoding
        x, y, width, height = roi
        inside = x >= 0 and y >= 0 and width >= 1 and height >= 1 and x + width <= size[0] and y + height <= size[1]
        if not inside:
            raise ProtocolError(f"object {obj.id}: roi {roi} is not inside the frame of {size[0]}x{size[1]}")
        if not 2 <= obj.part < len(parts):
            raise ProtocolError(f"object {obj.id}: there is no part {obj.part} in a message of {len(parts)} parts")
        if encoding == "none":
            raise ProtocolError(f"object {obj.id}: part {obj.part} holds its mask, but encoding is missing or none")
        data = parts[obj.part]
    return ObjectMask(**_object_fields(obj), roi=roi, size=size, encoding=encoding, data=data)


def _objects_frame(header: Objects) -> ObjectsFrame:
    objects = tuple(ObjectInfo(**_object_fields(obj)) for obj in header.objects)
    return ObjectsFrame(**_frame_fields(header), objects=objects, repeats=header.repeats)


def _object_fields(obj: MaskObject) -> dict[str, Any]:
    fields = {name: getattr(obj, name) for name in ObjectInfo.__struct_fields__}
    return fields | {
        "confidence": None if obj.confidence is msgspec.UNSET else obj.confidence,
        "origin": "user" if obj.origin is msgspec.UNSET else obj.origin,
    }


def _image_frame(header: Image, parts: Sequence[bytes]) -> ImageFrame:
    if header.encoding != "jpeg" or len(parts) < 3:
        raise ProtocolError(f"a picture encoded as {header.encoding!r} in {len(parts)} parts: expected jpeg in 3")
    return ImageFrame(**_frame_fields(header), jpeg=parts[2])


def _frame_fields(header: FrameHeader) -> dict[str, Any]:
    width, height = header.size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ProtocolError(f"a frame cannot be {width}x{height} pixels")
    t_wall_ns, t_captured_ns = _nanoseconds(header.t_wall_ns), _nanoseconds(header.t_captured_ns)
    same_clock = header.clock != "" and header.clock == clock_name()
    age_ns = time.monotonic_ns() - t_captured_ns if same_clock else time.time_ns() - t_wall_ns
    return {
        "stream": header.stream,
        "session": header.session,
        "publisher": header.publisher,
        "epoch": header.epoch,
        "seq": header.seq,
        "frame": header.frame,
        "t_wall_ns": t_wall_ns,
        "t_source": header.t_source,
        "t_captured_ns": t_captured_ns,
        "t_decoded_ns": _nanoseconds(header.t_decoded_ns),
        "t_tracked_ns": _nanoseconds(header.t_tracked_ns),
        "t_published_ns": _nanoseconds(header.t_published_ns),
        "same_clock": same_clock,
        "age_ms": age_ns / 1e6,
        "pts": header.pts,
        "time_base": header.time_base,
        "size": header.size,
        "model": header.model,
        "dropped": header.dropped,
        "sample_aspect": _aspect(header.sample_aspect),
    }


def _aspect(aspect: tuple[int, int] | msgspec.UnsetType) -> tuple[int, int]:
    if isinstance(aspect, msgspec.UnsetType):
        return SQUARE
    if min(aspect) < 1:
        raise ProtocolError(f"a sample aspect ratio cannot be {aspect[0]}:{aspect[1]}")
    return aspect


def _event_message(event: Event) -> EventMessage:
    fields = _fields(event)
    fields["t_mono_ns"] = _nanoseconds(event.t_mono_ns) if event.t_mono_ns else None
    fields["objects"] = () if isinstance(event.objects, msgspec.UnsetType) else tuple(event.objects)
    return EventMessage(event=fields.pop("kind"), **fields)


def _status_message(status: Status) -> StatusMessage:
    return StatusMessage(**_fields(status))


def _daemon_message(status: DaemonStatus) -> DaemonStatusMessage:
    return DaemonStatusMessage(stream=DAEMON, **_fields(status))


def _fields(message: Event | Status | DaemonStatus) -> dict[str, Any]:
    fields = msgspec.structs.asdict(message)
    del fields["v"]
    fields["t_wall_ns"] = _nanoseconds(message.t_wall_ns)
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def _nanoseconds(text: str) -> int:
    try:
        if len(text) <= _MAX_NS:
            return int(text)
    except ValueError:
        pass
    raise ProtocolError(f"{text[:40]!r} is not a number of nanoseconds")
