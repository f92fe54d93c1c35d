"""Builds published messages from tracked frames and events. ``docs/protocol.md`` is the contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from streamseg.frame import SQUARE
from streamseg.ipc.messages import StreamEvent, TrackedFrame, TrackedObject
from streamseg.protocol.mask_codec import encode_bits
from streamseg.protocol.published import Encoding, Event, Image, MaskObject, Masks, Objects
from streamseg.protocol.scores import presence_of, score_of
from streamseg.protocol.text import encode_valid
from streamseg.protocol.topics import Kind, rate_suffix, topic

Parts = list[bytes]

_json = msgspec.json.Encoder()


@dataclass(slots=True)
class Origin:
    """Identity of a publisher: the fields that all its messages share.

    Attributes:
        session: Id of the daemon's run.
        publisher: Id of this publisher process.
        clock: Name of this machine's monotonic clock.
        model: Name of the model; changes with a reload.
    """

    session: str
    publisher: str
    clock: str
    model: str


class StreamEncoder:
    """Builds and numbers the messages of one stream, or of the daemon itself.

    Args:
        stream: Id of the stream.
        origin: Identity of the publisher.
        encoding: Encoding of masks.
        now_ns: The monotonic clock.

    Attributes:
        published: Kind, or kind@rate -> number of messages built, which is also the next ``seq``.
    """

    def __init__(
        self, stream: str, origin: Origin, encoding: Encoding, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._stream = stream
        self._origin = origin
        self._encoding: Encoding = encoding
        self._now_ns = now_ns
        self.published: dict[str, int] = {}
        self._encoded: tuple[TrackedFrame, list[MaskObject], Parts] | None = None

    def masks(self, frame: TrackedFrame, rate_hz: float | None = None) -> Parts:
        """Return a message with all objects and a mask part for each visible one.

        Args:
            frame: The frame. The masks of the same frame are encoded once for all rates.
            rate_hz: Rate of the topic; None: every frame.

        Raises:
            ProtocolError: a mask's size contradicts its bits.
        """
        if self._encoded is None or self._encoded[0] is not frame:
            self._encoded = (frame, *self._encode(frame))
        _, objects, parts = self._encoded
        # The header is built last: t_published_ns comes after the encoding.
        header = Masks(objects=objects, repeats=frame.repeats, **self._frame_fields(frame, "masks", rate_hz))
        return self._message("masks", header, parts, rate_hz)

    def _encode(self, frame: TrackedFrame) -> tuple[list[MaskObject], Parts]:
        parts: Parts = []
        objects = []
        for tracked in frame.objects:
            _, _, width, height = tracked.roi
            if width and height:
                parts.append(encode_bits(tracked.bits, (width, height), self._encoding))
                objects.append(_mask_object(tracked, part=1 + len(parts), encoding=self._encoding))
            else:
                objects.append(_mask_object(tracked))
        return objects, parts

    def objects(self, frame: TrackedFrame, rate_hz: float | None = None) -> Parts:
        """Return a message with all objects, without masks."""
        objects = [_mask_object(tracked) for tracked in frame.objects]
        header = Objects(objects=objects, repeats=frame.repeats, **self._frame_fields(frame, "objects", rate_hz))
        return self._message("objects", header, (), rate_hz)

    def image(self, frame: TrackedFrame, jpeg: bytes, rate_hz: float | None = None) -> Parts:
        """Return a message with the frame's picture."""
        header = Image(**self._frame_fields(frame, "image", rate_hz), encoding="jpeg")
        return self._message("image", header, [jpeg], rate_hz)

    def event(self, event: StreamEvent) -> Parts:
        """Return a message for an event."""
        return self._message(
            "events",
            Event(
                stream=self._stream,
                session=self._origin.session,
                publisher=self._origin.publisher,
                seq=self.next_seq("events"),
                kind=event.kind,
                t_wall_ns=str(event.t_wall_ns),
                epoch=event.epoch,
                frame=event.frame_id,
                object=event.obj_id,
                label=event.label,
                detail=event.detail,
                region=UNSET if event.region is None else event.region,
                t_mono_ns=str(event.t_mono_ns),
                clock=self._origin.clock,
                objects=UNSET if event.objects is None else event.objects,
            ),
        )

    def status(self, status: msgspec.Struct) -> Parts:
        """Return a message for a status, whose ``seq`` must be :meth:`next_seq`."""
        return self._message("status", status)

    def next_seq(self, kind: Kind, rate_hz: float | None = None) -> int:
        """Return the number of the next message of this kind and rate."""
        return self.published.get(f"{kind}{rate_suffix(rate_hz)}", 0)

    def _message(
        self, kind: Kind, header: msgspec.Struct, parts: Iterable[bytes] = (), rate_hz: float | None = None
    ) -> Parts:
        message = [topic(self._stream, kind, rate_hz), encode_valid(_json.encode, header), *parts]
        self.published[f"{kind}{rate_suffix(rate_hz)}"] = self.next_seq(kind, rate_hz) + 1
        return message

    def _frame_fields(self, frame: TrackedFrame, kind: Kind, rate_hz: float | None) -> dict[str, Any]:
        return {
            "stream": self._stream,
            "session": self._origin.session,
            "publisher": self._origin.publisher,
            "epoch": frame.epoch,
            "seq": self.next_seq(kind, rate_hz),
            "frame": frame.frame_id,
            "t_wall_ns": str(frame.t_wall_ns),
            "t_source": frame.t_source,
            "clock": self._origin.clock,
            "t_captured_ns": str(frame.t_captured_ns),
            "t_decoded_ns": str(frame.t_decoded_ns),
            "t_tracked_ns": str(frame.t_tracked_ns),
            "t_published_ns": str(self._now_ns()),
            "pts": frame.pts,
            "time_base": frame.time_base,
            "size": frame.size,
            "model": self._origin.model,
            "dropped": frame.dropped,
            "sample_aspect": UNSET if frame.sample_aspect == SQUARE else frame.sample_aspect,
        }


def _mask_object(tracked: TrackedObject, *, part: int | None = None, encoding: Encoding = "none") -> MaskObject:
    x, y = tracked.centroid
    return MaskObject(
        id=tracked.obj_id,
        label=tracked.label,
        state=tracked.state,
        score=score_of(tracked.iou_prediction),
        presence=presence_of(tracked.object_score_logits),
        bbox=tracked.roi,
        area=tracked.area,
        centroid=(round(x, 2), round(y, 2)),
        confidence=UNSET if tracked.confidence is None else score_of(tracked.confidence),
        origin=UNSET if tracked.origin == "user" else tracked.origin,
        part=part,
        encoding=encoding,
        roi=tracked.roi if part is not None else (0, 0, 0, 0),
    )
