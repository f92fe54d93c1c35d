"""Public messages, schema v1: what subscribers receive as JSON headers. ``docs/protocol.md`` is the contract.

Nanoseconds are decimal strings, because JavaScript's numbers are exact only up to 2**53. Readers ignore unknown fields.
Fields with a set of values (``state``, ``kind``, ``encoding``, ``t_source``) are plain strings here, so that a reader
accepts the values of a newer daemon; today's values are the ``Literal`` types below. A breaking change gets new topics
(``v2/``).

All of schema v1 is in this one file: it is read as a whole, beside the document.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

PROTOCOL_VERSION = 1

Box = tuple[int, int, int, int]
"""x, y, w, h in pixels."""

Encoding = Literal["coco_rle", "bits_zstd", "polygons", "none"]
ObjectState = Literal["tracked", "uncertain", "occluded", "lost", "suspended"]
Origin = Literal["user", "config", "auto", "prompter"]
"""What started an object: a request, the configuration, ``find``, or a prompter."""
EventKind = Literal[
    "object_added",
    "object_found",
    "object_appeared",
    "object_uncertain",
    "object_certain",
    "object_occluded",
    "object_lost",
    "object_restarted",
    "object_suspended",
    "object_resumed",
    "object_retired",
    "object_removed",
    "input_reduced",
    "input_restored",
    "zone_entered",
    "zone_left",
    "line_crossed",
    "prompt_rejected",
    "stream_connected",
    "stream_reconnecting",
    "stream_ended",
    "stream_failed",
    "tracker_reset",
    "restored",
    "tracking_failed",
    "worker_restarted",
    "capture_restarted",
    "publisher_restarted",
    "control_restarted",
    "web_restarted",
    "recorder_restarted",
    "prompter_restarted",
    "prompter_failed",
    "recording_stopped",
    "clip_saved",
    "clip_failed",
    "stream_added",
    "stream_removed",
    "subscriber_dropped",
]
StreamState = Literal["starting", "connecting", "streaming", "reconnecting", "ended", "failed"]


class ObjectSummary(msgspec.Struct, frozen=True):
    """Fields of every record of an object: in published messages, lists, snapshots and the HTTP API."""

    id: Annotated[int, Meta(description="Its permanent id.")]
    label: Annotated[str, Meta(description="Its name; may be empty.")]
    state: Annotated[
        str,
        Meta(
            description="tracked (seen now), uncertain (seen, but its mask is probably wrong), occluded (seen lately), "
            "lost (not seen for long), suspended (not tracked, for overload) or, in lists, waiting (its prompt is "
            "applied to the next frame)."
        ),
    ]
    score: Annotated[float, Meta(description="The model's own estimate of the mask's IoU, 0..1.")]
    presence: Annotated[float, Meta(description="Probability that it is visible, 0..1.")]
    bbox: Annotated[Box, Meta(description="x, y, w, h in pixels; zeros if the object is not seen.")]
    area: Annotated[int, Meta(description="Pixels.")]


class ObjectInfo(ObjectSummary, frozen=True):
    """One object of a frame, without its mask."""

    centroid: Annotated[tuple[float, float], Meta(description="x, y in pixels; zeros if the object is not seen.")]
    confidence: Annotated[
        float | None,
        Meta(
            description="Probability that the mask's IoU is above 0.5, 0..1; 0 if the object is not seen, null if the "
            "model has no such score."
        ),
    ] = None
    origin: Annotated[
        str,
        Meta(
            description="Who started it: user (a request), config (the configuration), auto (found without a prompt), "
            "prompter (a detector). Daemons without the feature find do not say it: there it is always user."
        ),
    ] = "user"


class MaskObject(ObjectInfo, frozen=True, kw_only=True):
    """One object in a header.

    Attributes:
        part: Index of the message part that holds the mask (topic is 0, header is 1); None without a mask.
        encoding: Encoding of that part.
        roi: x, y, w, h of the rectangle that the part's mask covers; everything outside is background.
        confidence: As in :class:`ObjectInfo`; left out if there is none.
        origin: As in :class:`ObjectInfo`; left out if it is ``user``.
    """

    confidence: float | UnsetType = UNSET  # type: ignore[assignment]  # readers of results see None
    origin: str | UnsetType = UNSET  # type: ignore[assignment]  # readers of results see "user"
    part: int | None = None
    encoding: str = "none"
    roi: Box = (0, 0, 0, 0)


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Fields of every message about a frame.

    Attributes:
        v: Version of the protocol.
        stream: Id of the stream.
        session: Changes when the daemon restarts.
        publisher: Changes when the publisher process restarts, even within a session.
        epoch: Rises at each reconnect, size change or time jump of the source.
        seq: Counts messages of this publisher, stream, kind and rate from 0: a gap was lost on the way to the
            subscriber.
        frame: Counts captured frames of the session: a gap was skipped by the daemon.
        t_wall_ns: Capture time, Unix epoch.
        t_source: Clock of ``t_wall_ns``: ``rtcp`` (the camera's), ``arrival`` or ``file`` (the daemon's).
        clock: Name of the monotonic clock of the stamps below. A reader that computes the same name
            (:func:`streamseg.protocol.clock.clock_name`) runs on the same machine and may compare them with its
            own clock.
        t_captured_ns: Monotonic clock of the daemon's machine, when the frame's data arrived.
        t_decoded_ns: Likewise, when it was decoded.
        t_tracked_ns: Likewise, when its masks were ready.
        t_published_ns: Likewise, when this message was sent.
        pts: The source's own timestamp in units of ``time_base``.
        time_base: Seconds per unit as [numerator, denominator].
        size: Width and height of the frame in pixels.
        model: Name of the model.
        dropped: Frames of this session and stream captured so far for which no masks were sent.
        sample_aspect: Width to height of a pixel as displayed, [numerator, denominator]; left out if pixels are square.
            Everything else is in stored pixels.
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
    sample_aspect: tuple[int, int] | UnsetType = UNSET


class Masks(FrameHeader, frozen=True, kw_only=True, tag="masks"):
    """Header of ``v1/<stream>/masks/``: objects, with a mask part for each visible one.

    Attributes:
        repeats: Number of the frame that these masks were computed on, if this frame was not tracked because its
            picture had not changed; None: the masks are the frame's own.
    """

    objects: list[MaskObject]
    repeats: int | None = None


class Objects(FrameHeader, frozen=True, kw_only=True, tag="objects"):
    """Header of ``v1/<stream>/objects/``: the same without masks."""

    objects: list[MaskObject]
    repeats: int | None = None


class Image(FrameHeader, frozen=True, kw_only=True, tag="image"):
    """Header of ``v1/<stream>/image/``: the frame's picture in part 2.

    Attributes:
        encoding: ``jpeg``.
    """

    encoding: str


class Region(msgspec.Struct, frozen=True, omit_defaults=True):
    """The zone or line that an event is about.

    Attributes:
        name: Its name in the settings.
        dwell_s: ``zone_left``: seconds that the object was inside, by the stream's own time.
        reason: ``zone_left``: ``moved``, or why the object is no longer tracked: ``lost``, ``removed``, ``reset``.
        direction: ``line_crossed``: ``forward`` (from the line's left to its right, seen from its start) or
            ``backward``.
    """

    name: str
    dwell_s: float | None = None
    reason: str | None = None
    direction: str | None = None


class RegionCounts(msgspec.Struct, frozen=True):
    """Counts of a stream's zones and lines.

    Attributes:
        inside: Zone -> objects inside.
        entered: Zone -> number of times an object entered.
        left: Zone -> number of times an object left.
        forward: Line -> crossings from its left to its right.
        backward: Line -> crossings from its right to its left.
    """

    inside: dict[str, int] = {}
    entered: dict[str, int] = {}
    left: dict[str, int] = {}
    forward: dict[str, int] = {}
    backward: dict[str, int] = {}


class FindCounts(msgspec.Struct, frozen=True):
    """Counts of a stream's search for objects since the worker started.

    Attributes:
        looks: Searches of the whole picture.
        found: Objects that were found.
        retired: Found objects that are gone.
        expired: Searches without a result because their frame was no longer held, after a cut of the source.
        failed: Searches that ended with an error.
        tentative: Objects not yet seen often enough.
        look_ms: Device time of the last search.
        longest_delay_ms: Longest part of a search, by which a frame may have been delayed.
    """

    looks: int = 0
    found: int = 0
    retired: int = 0
    expired: int = 0
    failed: int = 0
    tentative: int = 0
    look_ms: float = 0.0
    longest_delay_ms: float = 0.0


class PrompterCounts(msgspec.Struct, frozen=True):
    """Counts of a stream's prompter since the worker started; calls since its own process started.

    Attributes:
        looks: Pictures that it has processed.
        proposals: Valid proposals.
        found: Objects that were started.
        tentative: Objects not yet seen often enough.
        expired: Pictures without a result because they were no longer held, after a cut of the source.
        failed: Calls that raised an exception.
        invalid: Proposals that were refused.
        errors: How often its proposals could not be used because of an error of the tracker.
        call_ms: Duration of its last call.
        mask_ms: Device time of the masks for its last proposals.
        longest_delay_ms: Longest part of that, by which a frame may have been delayed.
        error: Error of its last call; empty if it succeeded.
    """

    looks: int = 0
    proposals: int = 0
    found: int = 0
    tentative: int = 0
    expired: int = 0
    failed: int = 0
    invalid: int = 0
    errors: int = 0
    call_ms: float = 0.0
    mask_ms: float = 0.0
    longest_delay_ms: float = 0.0
    error: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="type"):
    """Something happened: ``v1/<stream>/events/``, part 1.

    Attributes:
        stream: Id of the stream, ``_daemon`` for the daemon itself.
        seq: Counts events of this publisher and stream from 0.
        kind: What happened.
        t_wall_ns: When.
        epoch: Epoch of the stream at that time.
        frame: Number of the frame it belongs to, if any.
        object: Id of the object it belongs to, if any.
        label: Name of that object.
        detail: Readable text.
        region: The zone or line that it is about; left out if there is none.
        t_mono_ns: When it happened, by the monotonic clock of the daemon's machine; orders the events of all streams.
        clock: Name of that clock.
        objects: ``tracker_reset``: ids of the objects it was about; otherwise left out.
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
    region: Region | UnsetType = UNSET
    t_mono_ns: str = ""
    clock: str = ""
    objects: list[int] | UnsetType = UNSET


class Overload(msgspec.Struct, frozen=True):
    """Measures in effect because the worker does not keep up with a stream.

    Attributes:
        policy: The setting ``overload``: ``lower_rate``, ``smaller_input`` or ``oldest_objects``.
        dropped: Share of the frames of the last two seconds that were dropped.
        suspended: Ids of the objects that are not tracked for now.
        image_size: Side of the model's input in pixels, if it is reduced; otherwise left out.
    """

    policy: str
    dropped: float
    suspended: list[int] = []
    image_size: int | UnsetType = UNSET


class Status(msgspec.Struct, frozen=True, kw_only=True, tag="status", tag_field="type"):
    """State of a stream, sent once a second on ``v1/<stream>/status/``, part 1. Silence means that the daemon is down.

    Attributes:
        state: State of the source.
        source: Its address, without credentials.
        size: Width and height in pixels, zeros until known.
        fps_in: Frames captured per second, over about the last second.
        fps_out: Frames with masks per second, tracked or repeated.
        frames: Frames captured in this session.
        tracked: Frames tracked in this session.
        drops: All lost frames, counted by ``stage/reason``.
        reconnects: Reconnects in this session.
        epoch: Current epoch.
        objects: Number of objects.
        latency_ms: Stage -> median of the last second: ``decode`` (from captured), ``track`` (from decoded),
            ``publish`` (from tracked), ``total``; empty without masks.
        published: Kind, or kind@rate -> messages published so far by this publisher.
        subscribed: Kinds that have subscribers now.
        last_error: Last error of the source, without credentials; empty if there is none.
        paused: Tracking is paused by request; pictures are still published.
        repeated: Frames of this session that were not tracked because their picture had not changed, and were sent
            with the masks of the last tracked one.
        regions: Counts of its zones and lines in this session; left out if it has none.
        no_masks_s: For how many seconds there have been frames but no masks; left out while there are masks.
        overload: Present while the worker does not keep up, or measures against this are still in effect.
        find: Counts of its search for objects since the worker started; left out if it is off.
        prompters: Prompter -> its counts; left out if there are none.
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
    regions: RegionCounts | UnsetType = UNSET
    find: FindCounts | UnsetType = UNSET
    prompters: dict[str, PrompterCounts] | UnsetType = UNSET
    no_masks_s: float | UnsetType = UNSET
    overload: Overload | UnsetType = UNSET

    @classmethod
    def starting(cls, stream: str, session: str, source: str, t_wall_ns: str) -> Status:
        """Return the status of a stream before its first one is published: `publisher` is empty, counts are zero."""
        return cls(
            stream=stream,
            session=session,
            publisher="",
            seq=0,
            t_wall_ns=t_wall_ns,
            state="starting",
            source=source,
            size=(0, 0),
            fps_in=0.0,
            fps_out=0.0,
            frames=0,
            tracked=0,
            drops={},
            reconnects=0,
            epoch=0,
            objects=0,
            latency_ms={},
            published={},
            subscribed=[],
        )


class DaemonStatus(msgspec.Struct, frozen=True, kw_only=True, tag="daemon", tag_field="type"):
    """State of the daemon, sent once a second on ``v1/_daemon/status/``, part 1.

    Attributes:
        clock: As in frame headers.
        version: Version of streamseg.
        model: Name of the model.
        device: Device of the worker, for example ``cpu`` or ``cuda:0 (NVIDIA H100)``.
        uptime_s: Uptime of the daemon.
        streams: Ids of all streams.
        processes: Name -> state (``starting``, ``ready``, ``restarting``, ``ended``).
        restarts: Name -> number of restarts in this session.
        device_memory_bytes: GPU memory held by the worker; 0 on a CPU.
        recompiles: Graphs compiled after the warm-up, plus how many times all were recorded again.
        log_dropped: Name -> log lines that were dropped because nothing read them in time.
        rates: Rates of topics like ``r5/v1/...``, in Hz; left out by a daemon before 0.2, which has none.
        engine: Engine that runs the model, as readable text: ``eager``, ``eager (converting 40 %)``, ``openvino``,
            ``compiled``; empty without a network, left out by a daemon before 0.2.
        recording_stopped: Why the recording has stopped; empty while it runs; left out without a recorder.
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
    rates: list[float] | UnsetType = UNSET
    log_dropped: dict[str, int] | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    recording_stopped: str | UnsetType = UNSET
