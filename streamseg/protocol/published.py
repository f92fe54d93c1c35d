"""Public messages, schema v1: what subscribers receive as JSON headers. ``docs/protocol.md`` is the contract.

Nanoseconds are decimal strings, since JavaScript's numbers end at 2**53. Unknown fields are ignored by readers, and
fields that name one of several things (``state``, ``kind``, ``encoding``, ``t_source``) are plain strings here, so that
a reader of today takes a daemon that knows one more; the values of today are the ``Literal`` types below. A breaking
change gets new topics (``v2/``).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROTOCOL_VERSION = 1

Box = tuple[int, int, int, int]
"""x, y, w, h in pixels."""

Encoding = Literal["coco_rle", "bits_zstd", "none"]
ObjectState = Literal["tracked", "occluded", "lost"]
EventKind = Literal[
    "object_added",
    "object_appeared",
    "object_occluded",
    "object_lost",
    "object_removed",
    "prompt_rejected",
    "stream_connected",
    "stream_reconnecting",
    "stream_ended",
    "stream_failed",
    "tracker_reset",
    "worker_restarted",
    "capture_restarted",
    "publisher_restarted",
    "control_restarted",
    "web_restarted",
    "stream_added",
    "stream_removed",
]
StreamState = Literal["starting", "connecting", "streaming", "reconnecting", "ended", "failed"]


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object of a frame, without its mask."""

    id: Annotated[int, Meta(description="Its permanent id.")]
    label: Annotated[str, Meta(description="Its name; may be empty.")]
    state: Annotated[str, Meta(description="tracked (seen now), occluded (seen lately) or lost (not seen for long).")]
    score: Annotated[float, Meta(description="The model's own estimate of the mask's IoU, 0..1.")]
    presence: Annotated[float, Meta(description="Probability that it is visible, 0..1.")]
    bbox: Annotated[Box, Meta(description="x, y, w, h in pixels; zeros if the object is not seen.")]
    area: Annotated[int, Meta(description="Pixels.")]
    centroid: Annotated[tuple[float, float], Meta(description="x, y in pixels; zeros if the object is not seen.")]


class MaskObject(ObjectInfo, frozen=True, kw_only=True):
    """One object in a header.

    Attributes:
        part: Index of the message part that holds the mask (topic is 0, header is 1); None without a mask.
        encoding: Of that part.
        roi: x, y, w, h of the rectangle that the part's mask covers; everything outside is background.
    """

    part: int | None = None
    encoding: str = "none"
    roi: Box = (0, 0, 0, 0)


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Fields that every message about a frame begins with.

    Attributes:
        v: Version of the protocol.
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        publisher: Changes when the publisher process restarts, also within a session.
        epoch: Rises at each reconnect, size change or time jump of the source.
        seq: Counts published messages of this publisher, stream and kind from 0: a gap was lost on the way to you.
        frame: Counts captured frames of the session: a gap was skipped by us.
        t_wall_ns: Capture time, Unix epoch.
        t_source: Clock of ``t_wall_ns``: ``rtcp`` (the camera's), ``arrival`` or ``file`` (ours).
        clock: Names the monotonic clock of the stamps below. A reader that computes the same name
            (:func:`streamseg.protocol.clock.clock_name`) runs on the same machine and may compare them with its
            own clock.
        t_captured_ns: Monotonic clock of the daemon's machine: the frame's data arrived.
        t_decoded_ns: ...it was decoded.
        t_tracked_ns: ...its masks were ready.
        t_published_ns: ...this message was sent.
        pts: The source's stamp in units of ``time_base``.
        time_base: Seconds per unit as [numerator, denominator].
        size: Width and height of the frame in pixels.
        model: Name of the model.
        dropped: Captured frames of this session and stream that were lost so far: no masks were sent for them.
    """

    v: int = PROTOCOL_VERSION
    stream: str
    session: str
    publisher: str
    epoch: int
    seq: int
    frame: int
    t_wall_ns: str
    t_source: str
    clock: str
    t_captured_ns: str
    t_decoded_ns: str
    t_tracked_ns: str
    t_published_ns: str
    pts: int | None
    time_base: tuple[int, int]
    size: tuple[int, int]
    model: str
    dropped: int


class Masks(FrameHeader, frozen=True, kw_only=True, tag="masks"):
    """Header of ``v1/<stream>/masks/``: objects, with a mask part for each that is seen.

    Attributes:
        repeats: Frame whose masks these are: this frame's picture had not changed since, so it was not tracked; None:
            the frame's own.
    """

    objects: list[MaskObject]
    repeats: int | None = None


class Objects(FrameHeader, frozen=True, kw_only=True, tag="objects"):
    """Header of ``v1/<stream>/objects/``: the same without masks."""

    objects: list[MaskObject]
    repeats: int | None = None


class Image(FrameHeader, frozen=True, kw_only=True, tag="image"):
    """Header of ``v1/<stream>/image/``: the picture of that frame as JPEG in part 2."""

    encoding: str = "jpeg"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="type"):
    """Something happened: ``v1/<stream>/events/``, part 1.

    Attributes:
        stream: Id of the stream, ``_daemon`` for the daemon itself.
        seq: Counts events of this publisher and stream from 0.
        kind: What happened.
        t_wall_ns: When.
        epoch: Epoch of the stream at that time.
        frame: Frame that it belongs to, if any.
        object: Object that it belongs to, if any.
        label: That object's name.
        detail: For people.
    """

    v: int = PROTOCOL_VERSION
    stream: str
    session: str
    publisher: str
    seq: int
    kind: str
    t_wall_ns: str
    epoch: int = 0
    frame: int | None = None
    object: int | None = None
    label: str = ""
    detail: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True, tag="status", tag_field="type"):
    """Once a second and stream: ``v1/<stream>/status/``, part 1. Its absence means that the daemon is down.

    Attributes:
        state: Of the source.
        source: Its address, without credentials.
        size: Width and height in pixels, zeros until known.
        fps_in: Frames a second captured, over the last second or so.
        fps_out: Frames a second with masks, tracked or repeated.
        frames: Captured in this session.
        tracked: Tracked in this session.
        drops: Every frame that was lost, by ``stage/reason``; none is lost uncounted.
        reconnects: Of this session.
        epoch: Present epoch.
        objects: Number of objects.
        latency_ms: Stage -> median of the last second: ``decode`` (captured to decoded), ``track`` (decoded to
            its masks were ready), ``publish`` (until published), ``total``; empty when there were no masks.
        published: Kind -> messages published so far by this publisher.
        subscribed: Kinds that somebody subscribes to now.
        last_error: Of the source, without credentials; empty when all is well.
        paused: Nothing in it is tracked, by request; pictures are published.
        repeated: Frames of this session that were not tracked, since their picture had not changed: they were sent
            with the masks of the last that was.
    """

    v: int = PROTOCOL_VERSION
    stream: str
    session: str
    publisher: str
    seq: int
    t_wall_ns: str
    state: str
    source: str
    size: tuple[int, int]
    fps_in: float
    fps_out: float
    frames: int
    tracked: int
    drops: dict[str, int]
    reconnects: int
    epoch: int
    objects: int
    latency_ms: dict[str, float]
    published: dict[str, int]
    subscribed: list[str]
    last_error: str = ""
    paused: bool = False
    repeated: int = 0


class DaemonStatus(msgspec.Struct, frozen=True, kw_only=True, tag="daemon", tag_field="type"):
    """Once a second: ``v1/_daemon/status/``, part 1.

    Attributes:
        clock: As in frame headers.
        version: Of streamseg.
        model: Name of the model.
        device: Of the worker, for example ``cpu`` or ``cuda:0 (NVIDIA H100)``.
        uptime_s: Of the daemon.
        streams: Ids of all streams.
        processes: Name -> state (``starting``, ``ready``, ``restarting``, ``ended``).
        restarts: Name -> number of restarts in this session.
        device_memory_bytes: What the worker holds of a GPU's memory; 0 on a CPU.
        recompiles: Graphs compiled after the warm-up, and times that all were recorded anew.
    """

    v: int = PROTOCOL_VERSION
    session: str
    publisher: str
    seq: int
    t_wall_ns: str
    clock: str
    version: str
    model: str
    device: str
    uptime_s: float
    streams: list[str]
    processes: dict[str, str]
    restarts: dict[str, int]
    device_memory_bytes: int = 0
    recompiles: int = 0
