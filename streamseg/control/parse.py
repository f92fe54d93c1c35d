"""Parse requests from bytes into typed requests, or errors that say what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from streamseg.protocol.arguments import AddPrompt, LabelObject, PromptArgs, SetPrompt, SetPrompts
from streamseg.protocol.control import CONTROL_VERSION, MAX_SETTINGS_BYTES, OPERATIONS, Request, control_error
from streamseg.protocol.field_problems import json_problem
from streamseg.protocol.prompt_rules import label_problem, request_problems
from streamseg.security.authorized_keys import AuthorizedKey

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Head(msgspec.Struct):
    """Read first, because a request of another version may differ in all other fields."""

    id: str = ""
    v: int | None = None


# The fields of a request. The fields of `args` depend on the operation and are checked separately.
_RequestFields = msgspec.defstruct(
    "_RequestFields",
    [
        (field.name, Any if field.name == "args" else field.type, *(() if field.required else (field.default,)))
        for field in msgspec.structs.fields(Request)
    ],
    forbid_unknown_fields=True,
    kw_only=True,
)
_head = msgspec.json.Decoder(_Head)
_request = msgspec.json.Decoder(Request)
_args = {op: msgspec.json.Decoder(operation.args) for op, operation in OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A well-formed request.

    Attributes:
        id: Id of the request.
        client: Name of the client; may be empty.
        op: The operation.
        stream: Id of the stream; empty for none.
        args: Arguments of the operation, checked.
        data: Everything but ``id`` and ``client``, to compare requests.
        holder: Holder of the key that the client connected with; None if it needed none.
    """

    id: str
    client: str
    op: str
    stream: str
    args: msgspec.Struct
    data: bytes
    holder: AuthorizedKey | None = None


def request_id(parts: Sequence[bytes]) -> str:
    """Return the id of a request that may be malformed; empty if it cannot be read."""
    try:
        return _head.decode(parts[-1]).id[:64]
    except (*_DECODE_ERRORS, IndexError):
        return ""


def parse(parts: Sequence[bytes]) -> ParsedRequest:
    """Parse a request.

    Args:
        parts: Parts of the message, without the ones that ZeroMQ adds.

    Raises:
        ControlError: the request is malformed; gives code and fix.
    """
    if len(parts) != 2 or parts[0]:
        raise control_error("BAD_REQUEST", f"a message of {len(parts)} parts: send two, an empty one and the request")
    data = parts[1]
    try:
        head = _head.decode(data)
    except _DECODE_ERRORS:
        raise control_error("BAD_REQUEST", json_problem(data, _RequestFields, "the request")) from None
    if head.v != CONTROL_VERSION:
        given = f"v is {head.v}" if head.v is not None else "v is missing"
        raise control_error("UNSUPPORTED_VERSION", f"{given}: this daemon supports version {CONTROL_VERSION}")
    try:
        request = _request.decode(data)
    except _DECODE_ERRORS:
        raise control_error("BAD_REQUEST", json_problem(data, _RequestFields, "the request")) from None
    if request.op not in OPERATIONS:
        near = difflib.get_close_matches(request.op, OPERATIONS, n=1)
        fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(OPERATIONS)}"
        raise control_error("UNKNOWN_OP", f"there is no operation {request.op!r}: {fix}")
    if request.op in ("add_stream", "change_stream") and len(data) > MAX_SETTINGS_BYTES:
        raise control_error(
            "BAD_REQUEST",
            f"{request.op}: the request has {len(data)} bytes, the limit is {MAX_SETTINGS_BYTES}: give large masks "
            "with add_prompt, or as the path of an image",
        )
    operation = OPERATIONS[request.op]
    if operation.stream == "required" and not request.stream:
        raise control_error("BAD_REQUEST", f"{request.op} needs a stream: give its id in the field stream")
    if operation.stream == "none" and request.stream:
        raise control_error("BAD_REQUEST", f"{request.op} takes no stream: leave the field stream out")
    try:
        args = _args[request.op].decode(request.args)
    except _DECODE_ERRORS:
        problem = json_problem(bytes(request.args), operation.args, "args")
        raise control_error("BAD_REQUEST", f"{request.op}: {problem}") from None
    stream = request.stream or ""
    return ParsedRequest(request.id, request.client, request.op, stream, args, _comparable(request.op, stream, args))


def check_prompts(args: msgspec.Struct) -> None:
    """Check the prompts and names of a request by the rules that need no frame.

    Raises:
        ControlError: a prompt is invalid.
    """
    labels = [args.label] if isinstance(args, AddPrompt | LabelObject) else []
    labels += [prompt.label for prompt in args.prompts] if isinstance(args, SetPrompts) else []
    for label in labels:
        if problem := label_problem(label):
            raise control_error("BAD_REQUEST", problem)
    prompts: Sequence[PromptArgs] = ()
    if isinstance(args, PromptArgs):
        prompts = (args,)
    elif isinstance(args, SetPrompts):
        prompts = args.prompts
    for prompt in prompts:
        name = f"object {prompt.object_id}: " if isinstance(prompt, SetPrompt) else ""
        has_mask = prompt.mask is not None
        for found in request_problems(prompt.points, prompt.box, has_mask=has_mask, coords=prompt.coords):
            raise control_error("BAD_PROMPT", f"{name}{found.message}")
    if isinstance(args, AddPrompt):
        _check_candidates(args)


def _check_candidates(args: AddPrompt) -> None:
    asked = "candidates" if args.candidates > 1 else "candidate" if args.candidate is not None else None
    if asked is not None and (args.box is not None or args.mask is not None):
        raise control_error("BAD_PROMPT", f"{asked} is about the masks that a click can mean: leave out box and mask")
    if args.candidates > 1 and not args.preview:
        raise control_error("BAD_PROMPT", f"candidates is {args.candidates}, which only a preview returns: set preview")


def _comparable(op: str, stream: str, args: msgspec.Struct) -> bytes:
    return msgspec.json.encode((op, stream, args))
