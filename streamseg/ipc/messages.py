"""Messages between streamseg's own processes: MessagePack over one PUSH/PULL socket into the publisher.

Every message is one part. The publisher binds; the other processes connect.
"""

from __future__ import annotations

import time

import msgspec

from streamseg.protocol.published import (
    EventKind,
    FindCounts,
    ObjectState,
    Origin,
    Overload,
    PrompterCounts,
    Region,
    RegionCounts,
    StreamState,
)
from streamseg.protocol.text import encode_valid


class TrackedObject(msgspec.Struct, frozen=True, array_like=True):
    """One object of a frame, its mask packed into bits.

    Attributes:
        roi: x, y, w, h of the mask's bounding box.
        bits: ``np.packbits(mask, axis=1).tobytes()`` of the mask inside ``roi``: ceil(w/8) bytes a row.
        confidence: Probability that the mask's IoU is above 0.5; None if the model has no such score.
    """

    obj_id: int
    label: str
    state: ObjectState
    iou_prediction: float
    object_score_logits: float
    roi: tuple[int, int, int, int]
    area: int
    centroid: tuple[float, float]
    bits: bytes
    confidence: float | None = None
    origin: Origin = "user"


class TrackedFrame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A frame with its masks: worker to publisher, one for each frame that the worker took.

    Attributes:
        slot: Ring slot that the worker shares with the publisher for the picture; -1 if it is not shared. The
            publisher must release it.
        dropped: Frames of this stream dropped so far.
        paused: The frame was not tracked because the stream is paused.
        repeats: Id of the frame that the masks were computed on, if this one was not tracked because its picture had
            not changed; None: the masks are its own.
        sample_aspect: Width to height of a pixel as displayed.
        failed: The frame was not tracked because of an error.
    """

    stream: str
    frame_id: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: int
    t_source: str
    t_captured_ns: int
    t_decoded_ns: int
    t_tracked_ns: int
    pts: int | None
    time_base: tuple[int, int]
    dropped: int
    slot: int
    objects: list[TrackedObject]
    paused: bool = False
    repeats: int | None = None
    sample_aspect: tuple[int, int] = (1, 1)
    failed: bool = False


class StreamEvent(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An event of a stream or of the daemon (stream ``_daemon``).

    Attributes:
        t_wall_ns: Capture time of the frame it belongs to, else now.
        t_mono_ns: When it happened, by the machine's monotonic clock.
        objects: Ids of the objects, if the event is about several; otherwise None.
    """

    stream: str
    kind: EventKind
    t_wall_ns: int
    epoch: int = 0
    frame_id: int | None = None
    obj_id: int | None = None
    label: str = ""
    detail: str = ""
    region: Region | None = None
    t_mono_ns: int = msgspec.field(default_factory=time.monotonic_ns)
    objects: list[int] | None = None


class CaptureReport(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """State of a source: capture process to publisher, at 1 Hz and at each change.

    Attributes:
        drops: Cumulative drops by ``stage/reason``, without the ring's counters, which every process can read.
    """

    stream: str
    state: StreamState
    source: str
    size: tuple[int, int]
    fps: float
    frames: int
    reconnects: int
    epoch: int
    drops: dict[str, int]
    last_error: str


class WorkerReport(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """State of the worker: worker to publisher, at 1 Hz and when ready.

    Attributes:
        model: Name of the model.
        device: Device that it runs on, as readable text.
        tracked: Stream -> frames tracked since the worker started.
        drops: Stream -> cumulative drops by ``stage/reason``.
        paused: Ids of the streams that are paused.
        device_memory_bytes: GPU memory held; 0 on a CPU.
        recompiles: Graphs compiled after the warm-up, plus how many times all were recorded again.
        repeated: Stream -> frames since the worker started that were sent with repeated masks.
        regions: Stream -> counts of its zones and lines since the worker started.
        engine: Engine that runs the model, as readable text; empty without a network.
        step_s: Seconds that the slowest recent step took.
        overload: Streams that the worker does not keep up with, or that have suspended objects.
        find: Stream -> counts of its looks for objects since the worker started.
        prompters: Stream -> prompter -> its counts.
    """

    model: str
    device: str
    tracked: dict[str, int]
    drops: dict[str, dict[str, int]]
    paused: list[str] = []
    device_memory_bytes: int = 0
    recompiles: int = 0
    repeated: dict[str, int] = {}
    regions: dict[str, RegionCounts] = {}
    engine: str = ""
    step_s: float = 0.0
    overload: dict[str, Overload] = {}
    find: dict[str, FindCounts] = {}
    prompters: dict[str, dict[str, PrompterCounts]] = {}


class DaemonReport(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The process table: supervisor to publisher, at 1 Hz and at each change."""

    uptime_s: float
    processes: dict[str, str]
    restarts: dict[str, int]
    log_dropped: dict[str, int] = {}


class RecorderReport(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Whether the recorder records: recorder to publisher, at 1 Hz.

    Attributes:
        stopped: Why it has stopped; empty while it records.
    """

    stopped: str


InternalMessage = TrackedFrame | StreamEvent | CaptureReport | WorkerReport | DaemonReport | RecorderReport

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[InternalMessage] = msgspec.msgpack.Decoder(InternalMessage)


def encode(message: InternalMessage) -> bytes:
    """Encode a message."""
    return encode_valid(_encoder.encode, message)


def decode(data: bytes | memoryview) -> InternalMessage:
    """Decode a message.

    Raises:
        msgspec.DecodeError: the message is invalid, which is a bug between our own processes.
    """
    return _decoder.decode(data)
