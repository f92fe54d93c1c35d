"""Control, schema v1: typed requests and replies. ``docs/protocol.md``, "Control", is the contract.

A request names its operation; its arguments are a struct of their own, and so is its result (:data:`OPERATIONS`).
Requests refuse fields that they do not know, so that a slip of the pen is told; readers of replies ignore them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from streamseg.errors import ControlError
from streamseg.protocol.published import Box, DaemonStatus, Status

CONTROL_VERSION: Final = 1
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_SETTINGS_BYTES: Final = 16 * 1024
"""Of an ``add_stream`` request: it goes on over pipes that hold little, to processes that have other work."""

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024

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
"""Codes of errors that may be over when the same request is sent again."""

ObjectId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Label = Annotated[str, Meta(max_length=100)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Coords = Literal["normalized", "pixels"]
OnExpired = Literal["error", "newest"]


class Rle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mask of the whole frame as COCO's compressed run lengths.

    Attributes:
        size: [height, width], in COCO's order.
        counts: As pycocotools writes it, as text.
    """

    size: tuple[int, int]
    counts: str


# --- arguments ------------------------------------------------------------------------------------------------------


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operations that need no more than a stream, or not even that."""


class PromptArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What marks an object: points and a box, or a mask alone.

    Attributes:
        points: [x, y] or [x, y, label]: label 1 is on the object (default), 0 is off.
        box: [x0, y0, x1, y1].
        mask: At the video's size.
        coords: Unit of points and box: 0..1 of the frame's width and height, or pixels.
    """

    points: Annotated[
        tuple[Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)], ...], Meta(max_length=64)
    ] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | None = None
    coords: Coords = "normalized"


class AddPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``add_prompt``: start an object, or correct one.

    Attributes:
        object_id: None: a new object, the daemon picks its id.
        label: Of a new object; on one that exists, an empty label keeps the one it has.
        frame: Number of the frame that the marks were made on; None: the newest.
        on_expired: If that frame is gone: an error, or the newest frame in its place.
        preview: Only show the mask; nothing changes.
    """

    object_id: ObjectId | None = None
    label: Label = ""
    frame: Annotated[int, Meta(ge=0)] | None = None
    on_expired: OnExpired = "error"
    preview: bool = False


class ObjectArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``remove_object``, ``undo_prompt``: which object."""

    object_id: ObjectId


class LabelObject(ObjectArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``label_object``: the object's new name."""

    label: Label


class SetPrompt(PromptArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object of ``set_prompts``."""

    object_id: ObjectId
    label: Label = ""


class SetPrompts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``set_prompts``: the objects that the stream shall have, all of them."""

    prompts: Annotated[tuple[SetPrompt, ...], Meta(max_length=256)]


class AddStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``add_stream``: what stands below ``streams.NAME`` in a configuration file."""

    settings: dict[str, Any]


# --- results --------------------------------------------------------------------------------------------------------


class Nothing(msgspec.Struct, frozen=True):
    """It was done; there is nothing to tell."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """``hello``.

    Attributes:
        version: Of streamseg.
        session: Id of this run of the daemon, the same as in published messages.
        model: Name of the model.
        max_objects: Most objects a stream.
        publish: Addresses at which masks are published.
        streams: Ids of all streams.
        ops: Operations that the daemon knows.
    """

    version: str
    session: str
    model: str
    max_objects: int
    publish: tuple[str, ...]
    streams: tuple[str, ...]
    ops: tuple[str, ...]


class ObjectEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of ``list``.

    Attributes:
        id: Its id.
        label: Its name; may be empty.
        state: ``tracked``, ``occluded``, ``lost``; ``waiting``: its prompt waits for the stream's next frame.
        prompts: How many prompts it has: one that started it, the others corrections.
        bbox: x, y, w, h on the newest frame; zeros if nothing is seen.
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
        paused: Its frames are published, but nothing in it is tracked.
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
        new: The prompt started it.
        frame: Number of the frame that was prompted: the one asked for, the one that it repeats, or the newest.
        newest: Number of the newest frame, up to which the object was followed from ``frame``.
        size: Width and height of ``frame`` in pixels.
        bbox: x, y, w, h of its mask on ``frame``; zeros if nothing is seen.
        area: Pixels of its mask on ``frame``.
        score: The model's estimate of that mask's IoU, 0..1.
        presence: Probability that the object is visible on ``frame``, 0..1.
        mask: On ``frame``; only in a preview.
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


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """``undo_prompt``.

    Attributes:
        object_id: The object.
        prompts: How many prompts it has left; 0: its only one was taken back, and the object with it.
    """

    object_id: int
    prompts: int


class SnapshotObject(ObjectEntry, frozen=True, kw_only=True):
    """One object of ``snapshot``: as in ``list``, with its mask; None if nothing is seen."""

    mask: Rle | None = None


class SnapshotResult(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshot``: the newest tracked frame.

    Attributes:
        stream: Id of the stream.
        frame: Number of the frame.
        epoch: Of the stream.
        size: Width and height in pixels.
        t_wall_ns: When it was captured, Unix epoch.
        image_topic: Where its picture is published, under the same frame number, while somebody subscribes.
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
    """``get_status``: the newest status messages, at most a second or so old; None or absent while there are none.

    Attributes:
        daemon: As on ``v1/_daemon/status/``.
        streams: As on ``v1/<stream>/status/``.
    """

    daemon: DaemonStatus | None
    streams: tuple[Status, ...]


class PromptsSet(msgspec.Struct, frozen=True, kw_only=True):
    """``set_prompts``: ids of objects, by what became of them.

    Attributes:
        kept: The prompt is the same as before; the object and its memory were left alone.
        prompted: They are prompted anew, on the next frame.
        removed: They are no longer followed.
    """

    kept: tuple[int, ...]
    prompted: tuple[int, ...]
    removed: tuple[int, ...]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """``reload``: what became of the streams, and what needs a restart of the daemon.

    Attributes:
        added: Streams that are new.
        removed: Streams that are gone.
        restarted: Streams whose source was opened anew, since settings of it changed.
        changed: Streams of which only prompts or policy changed; their sources were not touched.
        unchanged: All others.
        needs_restart: Settings that differ in the file, but cannot change in a running daemon.
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
    """What a client sends.

    Attributes:
        v: Version of the protocol.
        id: Of this request, unique for its client. Sent twice, it is done once and answered twice.
        op: What to do.
        client: Name of the client, if its requests shall be known again when they come over another connection.
        stream: Which stream, for most operations.
        args: Of the type that belongs to ``op``.
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


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the daemon answers.

    Attributes:
        v: Version of the protocol.
        id: Of the request; empty if it could not be read.
        ok: Whether it was done.
        result: Of the type that belongs to the operation.
        error: Otherwise.
    """

    v: int
    id: str
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorBody | None = None
