"""Results of a subscriber: one frozen class per kind of message. Masks and pictures are decoded when first read.

Status messages and events repeat the fields of :mod:`streamseg.protocol.published`. There, for JSON, times are decimal
text and unknown fields are absent; here times are numbers and unknown fields are None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamseg.client.jpeg import decode_jpeg
from streamseg.client.mask_views import MaskViews
from streamseg.frame import SQUARE
from streamseg.protocol.mask_codec import BoolMask, decode_mask, encode_rle
from streamseg.protocol.published import Box, FindCounts, ObjectInfo, Overload, PrompterCounts, Region, RegionCounts
from streamseg.protocol.topics import Kind


class ObjectMask(ObjectInfo, frozen=True, dict=True, kw_only=True):
    """One object of a frame with its mask, decoded when first read.

    Attributes:
        roi: x, y, w, h of the rectangle that the mask came in; everything outside is background. Zeros without a mask.
        size: (width, height) of the frame in pixels.
        encoding: Encoding of ``data``; ``none`` without a mask.
        data: The encoded mask as received.
    """

    roi: Box
    size: tuple[int, int]
    encoding: str
    data: bytes

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Everything but ``data``."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "data"]

    def __repr__(self) -> str:
        return f"ObjectMask({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @cached_property
    def crop(self) -> BoolMask:
        """``bool [roi h, roi w]``: the mask inside ``roi``; ``[0, 0]`` without a mask.

        Raises:
            ProtocolError: the bytes are not a mask.
            ConfigError: the encoding needs a package that is not installed.
        """
        if self.encoding == "none":
            return np.zeros((0, 0), np.bool_)
        return decode_mask(self.data, self.roi[2:], self.encoding)

    @cached_property
    def mask(self) -> BoolMask:
        """``bool [height, width]`` of the whole frame.

        Raises:
            ProtocolError: the bytes are not a mask.
            ConfigError: the encoding needs a package that is not installed.
        """
        width, height = self.size
        x, y, w, h = self.roi
        mask = np.zeros((height, width), np.bool_)
        mask[y : y + h, x : x + w] = self.crop
        return mask

    def to_coco_rle(self) -> dict[str, list[int] | bytes]:
        """Return the whole frame's mask as pycocotools' ``{"size": [height, width], "counts": bytes}``."""
        width, height = self.size
        return {"size": [height, width], "counts": encode_rle(self.mask)}


@dataclass(frozen=True)
class FrameMessage:
    """Fields of every message about a frame.

    Attributes:
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        publisher: Changes when the daemon's publisher process restarts.
        epoch: Rises at each reconnect, size change or time jump of the source.
        seq: Number of this message among those of its publisher, stream and kind.
        frame: Number of the captured frame; the same in all kinds of messages.
        t_wall_ns: Capture time, Unix epoch.
        t_source: Clock of ``t_wall_ns``: ``rtcp`` (the camera's), ``arrival`` or ``file`` (the daemon's).
        t_captured_ns: Monotonic clock of the daemon's machine, when the frame's data arrived.
        t_decoded_ns: Likewise, when it was decoded.
        t_tracked_ns: Likewise, when its masks were ready.
        t_published_ns: Likewise, when this message was sent.
        same_clock: This process shares that clock and may compare these stamps with ``time.monotonic_ns()``.
        age_ms: Age of the frame when it was received: exact on the daemon's machine, elsewhere as accurate as the wall
            clocks of the two machines.
        pts: The source's own timestamp in units of ``time_base``.
        time_base: Seconds per unit as (numerator, denominator).
        size: (width, height) of the frame in pixels.
        model: Name of the model.
        dropped: Frames of this session and stream captured so far for which no masks were sent.
        sample_aspect: Width to height of a pixel as displayed, (numerator, denominator). Pictures, masks and points are
            in stored pixels; :attr:`display_size` is the undistorted size of a picture.
        rate_hz: Limited rate of its topic; None: every frame.
        gap: Messages of this kind and stream that were lost on the way since the last one.
        skipped: Frames since the last message for which the daemon sent no message of this kind (at this rate).
        superseded: Messages since the last one that this one replaced before they were delivered (mode ``latest``).
    """

    kind: ClassVar[Kind]

    stream: str
    session: str
    publisher: str
    epoch: int
    seq: int
    frame: int
    t_wall_ns: int
    t_source: str
    t_captured_ns: int
    t_decoded_ns: int
    t_tracked_ns: int
    t_published_ns: int
    same_clock: bool
    age_ms: float
    pts: int | None
    time_base: tuple[int, int]
    size: tuple[int, int]
    model: str
    dropped: int
    sample_aspect: tuple[int, int] = field(default=SQUARE, kw_only=True)
    rate_hz: float | None = field(default=None, kw_only=True)
    gap: int = field(default=0, kw_only=True)
    skipped: int = field(default=0, kw_only=True)
    superseded: int = field(default=0, kw_only=True)

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) of the undistorted picture: ``size`` with the width scaled, as on the page."""
        (width, height), (across, down) = self.size, self.sample_aspect
        return max(1, round(width * across / down)), height


@dataclass(frozen=True)
class MaskFrame(FrameMessage, MaskViews):
    """A frame's objects with their masks, and conversions of them (:class:`MaskViews`).

    Attributes:
        objects: In order of age.
        repeats: Number of the frame that the masks were computed on, if this one was not tracked because its picture
            had not changed; None: the masks are the frame's own.
    """

    kind = "masks"

    objects: tuple[ObjectMask, ...]
    repeats: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ObjectsFrame(FrameMessage):
    """A frame's objects without masks.

    Attributes:
        objects: In order of age.
        repeats: As in :class:`MaskFrame`.
    """

    kind = "objects"

    objects: tuple[ObjectInfo, ...]
    repeats: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ImageFrame(FrameMessage):
    """A frame's picture.

    Attributes:
        jpeg: As received.
    """

    kind = "image"

    jpeg: bytes = field(repr=False)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """``uint8 [height, width, 3]``, decoded when first read.

        Raises:
            ProtocolError: the bytes are not a JPEG of the frame's size.
        """
        return decode_jpeg(self.jpeg, self.size)


@dataclass(frozen=True)
class FramePair:
    """A frame's picture and its masks.

    Attributes:
        image: The picture.
        masks: The masks; ``masks.frame == image.frame``.
    """

    image: ImageFrame
    masks: MaskFrame

    @property
    def stream(self) -> str:
        """Id of the stream."""
        return self.masks.stream

    @property
    def frame(self) -> int:
        """Number of the frame."""
        return self.masks.frame


@dataclass(frozen=True)
class EventMessage:
    """An event of a stream, or of the daemon (stream ``_daemon``).

    Attributes:
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        publisher: Changes when the daemon's publisher process restarts.
        seq: Number of this message among those of its publisher and stream.
        event: What happened, for example ``object_lost``; a newer daemon may send kinds that are not documented here.
        t_wall_ns: When, Unix epoch.
        epoch: Epoch of the stream at that time.
        frame: Number of the frame it belongs to, if any.
        object: Id of the object it belongs to, if any.
        label: Name of that object.
        detail: Readable text.
        region: The zone or line that it is about, if any.
        t_mono_ns: When it happened, by the monotonic clock of the daemon's machine; None from a daemon before 0.2.
        clock: Name of that clock.
        objects: ``tracker_reset``: ids of the objects it was about.
        gap: Events of this stream that were lost on the way since the last one.
    """

    kind: ClassVar[Kind] = "events"

    stream: str
    session: str
    publisher: str
    seq: int
    event: str
    t_wall_ns: int
    epoch: int
    frame: int | None
    object: int | None
    label: str
    detail: str
    region: Region | None = None
    t_mono_ns: int | None = None
    clock: str = ""
    objects: tuple[int, ...] = ()
    gap: int = 0


@dataclass(frozen=True)
class StatusMessage:
    """State of a stream, once a second.

    Attributes:
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        publisher: Changes when the daemon's publisher process restarts.
        seq: Number of this message among those of its publisher and stream.
        t_wall_ns: When, Unix epoch.
        state: State of the source: ``starting``, ``connecting``, ``streaming``, ``reconnecting``, ``ended`` or
            ``failed``.
        source: Its address, without credentials.
        size: (width, height) in pixels; zeros until known.
        fps_in: Frames captured per second.
        fps_out: Frames with masks per second, tracked or repeated.
        frames: Frames captured in this session.
        tracked: Frames tracked in this session.
        drops: All lost frames, counted by ``stage/reason``.
        reconnects: Reconnects in this session.
        epoch: Current epoch.
        objects: Number of objects.
        latency_ms: Stage -> median of the last second: ``decode``, ``track``, ``publish``, ``total``.
        published: Kind, or kind@rate -> messages published by this publisher.
        subscribed: Kinds that have subscribers.
        last_error: Last error of the source; empty if there is none.
        paused: Whether tracking is paused by request.
        repeated: Frames of this session that were not tracked because their picture had not changed, and were sent
            with the masks of the last tracked one.
        regions: Counts of its zones and lines in this session; None if it has none.
        no_masks_s: For how many seconds there have been frames but no masks; None while there are masks.
        overload: Set while the worker does not keep up, or measures against this are still in effect; otherwise None.
        find: Counts of its looks for objects since the worker started; None if it is off.
        prompters: Prompter -> its counts; None if there are none.
        gap: Status messages of this stream that were lost on the way since the last one.
    """

    kind: ClassVar[Kind] = "status"

    stream: str
    session: str
    publisher: str
    seq: int
    t_wall_ns: int
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
    last_error: str
    paused: bool = False
    repeated: int = 0
    regions: RegionCounts | None = None
    no_masks_s: float | None = None
    overload: Overload | None = None
    find: FindCounts | None = None
    prompters: dict[str, PrompterCounts] | None = None
    gap: int = 0


@dataclass(frozen=True)
class DaemonStatusMessage:
    """State of the daemon, once a second.

    Attributes:
        stream: Always ``_daemon``.
        session: Changes when the daemon restarts.
        publisher: Changes when the daemon's publisher process restarts.
        seq: Number of this message among those of its publisher.
        t_wall_ns: When, Unix epoch.
        clock: Name of the monotonic clock of the daemon's machine.
        version: Version of streamseg.
        model: Name of the model.
        device: Device of the worker.
        uptime_s: Uptime of the daemon.
        streams: Ids of all streams.
        processes: Name -> state.
        restarts: Name -> restarts in this session.
        device_memory_bytes: GPU memory held by the worker; 0 on a CPU.
        recompiles: Graphs compiled after the warm-up, plus how many times all were recorded again.
        rates: Rates at which frames can be received, in Hz; empty before version 0.2.
        log_dropped: Name -> log lines that were dropped because nothing read them in time.
        engine: Engine that runs the model, as readable text: ``eager``, ``eager (converting 40 %)``, ``openvino``,
            ``compiled``; empty before version 0.2 and without a network.
        recording_stopped: Why the recording has stopped; empty while it runs; None without a recorder.
        gap: Status messages of the daemon that were lost on the way since the last one.
    """

    kind: ClassVar[Kind] = "status"

    stream: str
    session: str
    publisher: str
    seq: int
    t_wall_ns: int
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
    rates: list[float] = field(default_factory=list)
    log_dropped: dict[str, int] = field(default_factory=dict)
    engine: str = ""
    recording_stopped: str | None = None
    gap: int = 0


Message = MaskFrame | ObjectsFrame | ImageFrame | EventMessage | StatusMessage | DaemonStatusMessage
"""Everything that a subscriber can receive."""
