"""Control, schema v1: typed requests and replies. ``docs/protocol.md``, "Control", is the contract.

Each operation has a struct for its arguments and one for its result (:data:`OPERATIONS`). Unknown fields in a request
are an error, so that typos do not pass silently; readers of replies ignore them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from streamseg.errors import ControlError
from streamseg.protocol.prompt_rules import MAX_OBJECT_ID
from streamseg.protocol.published import Box, DaemonStatus, Status

CONTROL_VERSION: Final = 1
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_SETTINGS_BYTES: Final = 16 * 1024
"""Limit of an ``add_stream`` request: it is passed on over pipes with small buffers."""

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024

Feature = Literal["event_clock", "reset_objects", "prompt_pixels", "prompts_on_frame", "undo"]
FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)
"""What this daemon supports beyond the first version of the protocol, so that clients can tell before they use it."""

ErrorCode = Literal[
    "BAD_REQUEST",
    "UNSUPPORTED_VERSION",
    "UNKNOWN_OP",
    "STREAM_NOT_FOUND",
    "STREAM_EXISTS",
    "OBJECT_NOT_FOUND",
    "BAD_PROMPT",
    "FRAME_EXPIRED",
    "NO_FRAME_YET",
    "NOTHING_TO_UNDO",
    "BAD_CONFIG",
    "WORKER_RESTARTING",
    "TIMEOUT",
    "BUSY",
    "INTERNAL",
]

RETRYABLE: Final[frozenset[str]] = frozenset({"NO_FRAME_YET", "WORKER_RESTARTING", "TIMEOUT", "BUSY"})
"""Codes of errors that may have passed when the same request is sent again."""

ObjectId = Annotated[int, Meta(ge=1, le=MAX_OBJECT_ID)]
Label = Annotated[str, Meta(max_length=100)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Coords = Literal["normalized", "pixels"]
OnExpired = Literal["error", "newest"]
PixelPoint = tuple[float, float, float]
PixelBox = tuple[float, float, float, float]


class Rle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mask of the whole frame as COCO's compressed run lengths.

    Attributes:
        size: [height, width], in COCO's order.
        counts: Compressed counts as text, as pycocotools writes them.
    """

    size: tuple[int, int]
    counts: str


# --- arguments ------------------------------------------------------------------------------------------------------


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments besides the stream, if any."""


class PromptArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marks an object: points and a box, or a mask alone.

    Attributes:
        points: [x, y] or [x, y, label]: label 1 is on the object (default), 0 is off.
        box: [x0, y0, x1, y1].
        mask: Of the whole frame.
        coords: Unit of points and box: ``normalized`` (0..1 of the frame's width and height) or ``pixels``.
    """

    points: Annotated[
        tuple[Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)], ...], Meta(max_length=64)
    ] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | None = None
    coords: Coords = "normalized"


class AddPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``add_prompt``: start an object or correct one.

    Attributes:
        object_id: The object; None starts a new one with an id of the daemon's choice.
        label: Name of the object; empty on an existing object keeps its name.
        frame: Number of the frame that the prompt was made on; None: the newest.
        on_expired: If that frame is no longer held: fail, or use the newest frame.
        preview: Only return the mask; nothing changes.
    """

    object_id: ObjectId | None = None
    label: Label = ""
    frame: Annotated[int, Meta(ge=0)] | None = None
    on_expired: OnExpired = "error"
    preview: bool = False


class ObjectArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``remove_object``, ``undo_prompt``: the object."""

    object_id: ObjectId


class LabelObject(ObjectArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``label_object``: the object's new name."""

    label: Label


class SetPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object of ``set_prompts``."""

    object_id: ObjectId
    label: Label = ""


class SetPrompts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``set_prompts``: all objects of the stream.

    Attributes:
        prompts: The objects.
        frame: Number of the frame that all prompts were made on; None: the next one.
        on_expired: If that frame is no longer held: fail, or use the newest frame.
    """

    prompts: Annotated[tuple[SetPrompt, ...], Meta(max_length=256)]
    frame: Annotated[int, Meta(ge=0)] | None = None
    on_expired: OnExpired = "error"


class AddStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``add_stream``: settings, as under ``streams.NAME`` in a configuration file."""

    settings: dict[str, Any]


# --- results --------------------------------------------------------------------------------------------------------


class Nothing(msgspec.Struct, frozen=True):
    """The request was done; there is no result."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """``hello``.

    Attributes:
        version: Of streamseg.
        session: Id of this run of the daemon, as in published messages.
        model: Name of the model.
        max_objects: Largest number of objects per stream.
        publish: Addresses at which masks are published.
        streams: Ids of all streams.
        ops: Operations that the daemon supports.
        features: What it supports beyond the first version of this protocol; see :data:`FEATURES`.
    """

    version: str
    session: str
    model: str
    max_objects: int
    publish: tuple[str, ...]
    streams: tuple[str, ...]
    ops: tuple[str, ...]
    features: tuple[str, ...] = ()


class ObjectEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of ``list``.

    Attributes:
        id: Its id.
        label: Its name; may be empty.
        state: ``tracked``, ``occluded``, ``lost``, or ``waiting`` until its prompt is applied to the next frame.
        prompts: Number of its prompts: the one that started it and its corrections.
        bbox: x, y, w, h on the newest frame; zeros if it is not seen.
        area: Pixels.
        score: The model's estimate of the mask's IoU, 0..1.
        presence: Probability that the object is visible, 0..1.
    """

    id: int
    label: str
    state: str
    prompts: int
    bbox: Box = (0, 0, 0, 0)
    area: int = 0
    score: float = 0.0
    presence: float = 0.0


class StreamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of ``list``.

    Attributes:
        stream: Its id.
        source: Its address, without credentials.
        paused: Its frames are published but not tracked.
        frame: Number of the newest tracked frame; None before the first.
        size: Width and height in pixels; zeros before the first frame.
        objects: Its objects, oldest first.
    """

    stream: str
    source: str
    paused: bool
    frame: int | None
    size: tuple[int, int]
    objects: tuple[ObjectEntry, ...]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """``list``."""

    streams: tuple[StreamEntry, ...]


class Prompted(msgspec.Struct, frozen=True, kw_only=True):
    """``add_prompt``.

    Attributes:
        object_id: The object; 0 in a preview of a new one.
        label: Its name.
        new: The prompt started it, rather than correcting it.
        frame: Number of the prompted frame: the requested one, the one that it repeats, or the newest.
        newest: Number of the newest tracked frame; the object was tracked from ``frame`` up to it.
        size: Width and height of ``frame`` in pixels.
        bbox: x, y, w, h of its mask on ``frame``; zeros if it is not seen.
        area: Pixels of its mask on ``frame``.
        score: The model's estimate of that mask's IoU, 0..1.
        presence: Probability that the object is visible on ``frame``, 0..1.
        mask: On ``frame``; only for a preview.
        points_px: The points of the prompt as (x, y, label), in pixels of ``frame``.
        box_px: The box of the prompt as (x0, y0, x1, y1), in pixels of ``frame``.
    """

    object_id: int
    label: str
    new: bool
    frame: int
    newest: int
    size: tuple[int, int]
    bbox: Box
    area: int
    score: float
    presence: float
    mask: Rle | None = None
    points_px: tuple[PixelPoint, ...] = ()
    box_px: PixelBox | None = None


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """``undo_prompt``.

    Attributes:
        object_id: The object.
        prompts: Number of prompts left; 0: its only prompt was undone, which removed the object.
    """

    object_id: int
    prompts: int


class SnapshotObject(ObjectEntry, frozen=True, kw_only=True):
    """One object of ``snapshot``: as in ``list``, with its mask; None if it is not seen."""

    mask: Rle | None = None


class SnapshotResult(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshot``: the newest tracked frame.

    Attributes:
        stream: Id of the stream.
        frame: Number of the frame.
        epoch: Of the stream.
        size: Width and height in pixels.
        t_wall_ns: When it was captured, Unix epoch.
        image_topic: Topic of its picture, which has the same frame number; published while it has subscribers.
        objects: Its objects, oldest first.
    """

    stream: str
    frame: int
    epoch: int
    size: tuple[int, int]
    t_wall_ns: str
    image_topic: str
    objects: tuple[SnapshotObject, ...]


class StatusResult(msgspec.Struct, frozen=True, kw_only=True):
    """``get_status``: the newest status messages, about a second old at most; None or absent before the first.

    Attributes:
        daemon: As on ``v1/_daemon/status/``.
        streams: As on ``v1/<stream>/status/``.
    """

    daemon: DaemonStatus | None
    streams: tuple[Status, ...]


class PixelMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Points and box of one object in pixels.

    Attributes:
        object_id: The object.
        points_px: (x, y, label).
        box_px: (x0, y0, x1, y1).
    """

    object_id: int
    points_px: tuple[PixelPoint, ...] = ()
    box_px: PixelBox | None = None


class PromptsSet(msgspec.Struct, frozen=True, kw_only=True):
    """``set_prompts``: ids of objects.

    Attributes:
        kept: The prompt is unchanged; the object and its memory were left alone.
        prompted: New or changed; prompted on the next frame.
        removed: No longer tracked.
        frame: Number of the frame that was prompted; None: the prompts wait for the next one.
        marks: The prompts in pixels of that frame, else of the newest one; empty before the first.
    """

    kept: tuple[int, ...]
    prompted: tuple[int, ...]
    removed: tuple[int, ...]
    frame: int | None = None
    marks: tuple[PixelMarks, ...] = ()


class UndoneChange(msgspec.Struct, frozen=True, kw_only=True):
    """``undo``.

    Attributes:
        op: The operation that was undone.
        object_ids: Ids of the objects that it had changed.
        left: Number of changes that can still be undone.
    """

    op: str
    object_ids: tuple[int, ...]
    left: int


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """``reload``: ids of streams, and settings that need a restart of the daemon.

    Attributes:
        added: New streams.
        removed: Streams that were closed.
        restarted: Streams whose source was reopened because its settings changed.
        changed: Streams with changed prompts or policy; their sources were left alone.
        unchanged: All others.
        needs_restart: Settings that changed in the file but cannot change in a running daemon.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    restarted: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    needs_restart: tuple[str, ...]


# --- envelope -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        args: Type of its arguments.
        result: Type of its result.
        stream: Whether a request names a stream.
    """

    args: type[msgspec.Struct]
    result: type[msgspec.Struct]
    stream: Literal["required", "optional", "none"] = "required"


OPERATIONS: Final[Mapping[str, Operation]] = {
    "hello": Operation(NoArgs, Hello, "none"),
    "list": Operation(NoArgs, Listing, "optional"),
    "add_prompt": Operation(AddPrompt, Prompted),
    "undo_prompt": Operation(ObjectArgs, Undone),
    "remove_object": Operation(ObjectArgs, Nothing),
    "label_object": Operation(LabelObject, Nothing),
    "set_prompts": Operation(SetPrompts, PromptsSet),
    "undo": Operation(NoArgs, UndoneChange),
    "reset": Operation(NoArgs, Nothing),
    "snapshot": Operation(NoArgs, SnapshotResult),
    "pause": Operation(NoArgs, Nothing),
    "resume": Operation(NoArgs, Nothing),
    "get_status": Operation(NoArgs, StatusResult, "optional"),
    "add_stream": Operation(AddStream, Nothing),
    "remove_stream": Operation(NoArgs, Nothing),
    "reload": Operation(NoArgs, Reloaded, "none"),
}


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request.

    Attributes:
        v: Version of the protocol.
        id: Unique for the client. A request that is sent twice is executed once and answered twice.
        op: Name of the operation.
        client: Name of the client; lets the daemon recognize a repeated request on another connection.
        stream: Id of the stream, for most operations.
        args: Arguments of the type that belongs to ``op``.
    """

    v: int
    id: Name
    op: Annotated[str, Meta(max_length=64)]
    client: Annotated[str, Meta(max_length=64)] = ""
    stream: Annotated[str, Meta(max_length=64)] | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed: :class:`~streamseg.errors.ControlError` as it travels."""

    code: Annotated[str, Meta(description="Stable name, for programs. A newer daemon may send codes not listed here.")]
    message: Annotated[str, Meta(description="What is wrong, with its value, and how to fix it.")]
    retryable: Annotated[bool, Meta(description="The same request may succeed later.")] = False

    @classmethod
    def of(cls, error: ControlError) -> ErrorBody:
        """Return the body of an error."""
        return cls(code=error.code, message=error.message, retryable=error.retryable)

    def exception(self) -> ControlError:
        """Return the error to raise."""
        return ControlError(self.code, self.message, self.retryable)


def control_error(code: ErrorCode, message: str) -> ControlError:
    """Return the error with one of the protocol's codes; the code decides whether it is retryable."""
    return ControlError(code, message, code in RETRYABLE)


def stream_not_found(stream: str, streams: Iterable[str]) -> ControlError:
    """Return the error for a stream that does not exist; it lists those that do."""
    return control_error("STREAM_NOT_FOUND", f"there is no stream {stream!r}; streams: {', '.join(streams) or 'none'}")


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reply.

    Attributes:
        v: Version of the protocol.
        id: Of the request; empty if it could not be read.
        ok: Whether the request succeeded.
        result: Result of the type that belongs to the operation, on success.
        error: Otherwise, why it failed.
    """

    v: int
    id: str
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorBody | None = None
