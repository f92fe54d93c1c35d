"""Control, schema v1: typed requests and replies. ``docs/protocol.md``, "Control", is the contract.

Each operation has a struct for its arguments (:mod:`~streamseg.protocol.arguments`) and one for its result
(:mod:`~streamseg.protocol.results`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from streamseg.errors import ControlError
from streamseg.protocol.arguments import (
    AddPrompt,
    AddStream,
    ChangeStream,
    LabelObject,
    NoArgs,
    ObjectArgs,
    RecordClip,
    SetFind,
    SetPrompts,
)
from streamseg.protocol.results import (
    ClipStarted,
    Finding,
    Hello,
    Listing,
    Nothing,
    PromptResult,
    PromptsSet,
    Reloaded,
    SnapshotResult,
    StatusResult,
    StreamSettings,
    Undone,
    UndoneChange,
)

CONTROL_VERSION: Final = 1
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_SETTINGS_BYTES: Final = 16 * 1024
"""Limit of an ``add_stream`` request, which is forwarded over pipes with small buffers."""

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024

Feature = Literal[
    "event_clock",
    "reset_objects",
    "prompt_pixels",
    "prompts_on_frame",
    "undo",
    "sample_aspect",
    "rates",
    "restart",
    "candidates",
    "confidence",
    "change_stream",
    "redo",
    "overload",
    "smaller_input",
    "find",
    "prompters",
    "keys",
    "clips",
    "reload_model",
]
FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)
"""Features of this daemon beyond the first version of the protocol, which clients check before they use them."""

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
    "NOTHING_TO_REDO",
    "BAD_CONFIG",
    "WORKER_RESTARTING",
    "TIMEOUT",
    "BUSY",
    "FORBIDDEN",
    "INTERNAL",
]

RETRYABLE: Final[frozenset[str]] = frozenset({"NO_FRAME_YET", "WORKER_RESTARTING", "TIMEOUT", "BUSY"})
"""Codes of errors for which a retry of the same request may succeed."""

Name = Annotated[str, Meta(min_length=1, max_length=64)]


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
    "add_prompt": Operation(AddPrompt, PromptResult),
    "undo_prompt": Operation(ObjectArgs, Undone),
    "remove_object": Operation(ObjectArgs, Nothing),
    "label_object": Operation(LabelObject, Nothing),
    "set_prompts": Operation(SetPrompts, PromptsSet),
    "set_find": Operation(SetFind, Finding),
    "undo": Operation(NoArgs, UndoneChange),
    "redo": Operation(NoArgs, UndoneChange),
    "reset": Operation(NoArgs, Nothing),
    "snapshot": Operation(NoArgs, SnapshotResult),
    "pause": Operation(NoArgs, Nothing),
    "resume": Operation(NoArgs, Nothing),
    "get_status": Operation(NoArgs, StatusResult, "optional"),
    "add_stream": Operation(AddStream, Nothing),
    "get_settings": Operation(NoArgs, StreamSettings),
    "change_stream": Operation(ChangeStream, StreamSettings),
    "record_clip": Operation(RecordClip, ClipStarted),
    "remove_stream": Operation(NoArgs, Nothing),
    "reload": Operation(NoArgs, Reloaded, "none"),
}


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request.

    Attributes:
        v: Version of the protocol.
        id: Unique for the client. A request sent twice is executed once and answered twice.
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
    """Why a request failed: :class:`~streamseg.errors.ControlError` on the wire."""

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
        id: Id of the request; empty if it could not be read.
        ok: Whether the request succeeded.
        result: Result of the type that belongs to the operation, on success.
        error: Otherwise, why it failed.
    """

    v: int
    id: str
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorBody | None = None
