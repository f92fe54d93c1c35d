"""From bytes of a request to a typed one, or to the error that says what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from streamseg.protocol.control import CONTROL_VERSION, MAX_SETTINGS_BYTES, OPERATIONS, Request, control_error

_NONSENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Head(msgspec.Struct):
    """What is looked at first: a request of another version may differ in all else."""

    id: str = ""
    v: int = 0


_head = msgspec.json.Decoder(_Head)
_request = msgspec.json.Decoder(Request)
_args = {op: msgspec.json.Decoder(operation.args) for op, operation in OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request whose form is right.

    Attributes:
        id: Of the request.
        client: Name of the client; empty if it gave none.
        op: The operation.
        stream: Id of the stream; empty for none.
        args: Of the operation, checked.
        data: Everything but ``id`` and ``client``, to tell whether two requests ask for the same.
    """

    id: str
    client: str
    op: str
    stream: str
    args: msgspec.Struct
    data: bytes


def request_id(parts: Sequence[bytes]) -> str:
    """Return the id of a request, whatever else is wrong with it; empty if that cannot be read."""
    try:
        return _head.decode(parts[-1]).id[:64]
    except (*_NONSENSE, IndexError):
        return ""


def parse(parts: Sequence[bytes]) -> ParsedRequest:
    """Read a request.

    Args:
        parts: Of its message, those that ZeroMQ adds left out.

    Raises:
        ControlError: it is none; with the code and the mend.
    """
    if len(parts) != 2 or parts[0]:
        raise control_error("BAD_REQUEST", f"a message of {len(parts)} parts: send two, an empty one and the request")
    data = parts[1]
    try:
        head = _head.decode(data)
    except _NONSENSE as error:
        raise control_error("BAD_REQUEST", f"the request is no JSON object as it should be: {error}") from None
    if head.v != CONTROL_VERSION:
        raise control_error(
            "UNSUPPORTED_VERSION", f"v is {head.v}: this daemon speaks version {CONTROL_VERSION}, write that"
        )
    try:
        request = _request.decode(data)
    except _NONSENSE as error:
        raise control_error("BAD_REQUEST", f"{error}") from None
    if request.op not in OPERATIONS:
        near = difflib.get_close_matches(request.op, OPERATIONS, n=1)
        mend = f"did you mean {near[0]}?" if near else f"there are: {', '.join(OPERATIONS)}"
        raise control_error("UNKNOWN_OP", f"there is no operation {request.op!r}: {mend}")
    if request.op == "add_stream" and len(data) > MAX_SETTINGS_BYTES:
        raise control_error(
            "BAD_REQUEST",
            f"add_stream: a request of {len(data)} bytes: settings take at most {MAX_SETTINGS_BYTES}; give large masks "
            "with add_prompt, or by the path of a picture",
        )
    operation = OPERATIONS[request.op]
    if operation.stream == "required" and not request.stream:
        raise control_error("BAD_REQUEST", f"{request.op} needs a stream: give its id in the field stream")
    if operation.stream == "none" and request.stream:
        raise control_error("BAD_REQUEST", f"{request.op} is not about one stream: leave the field stream out")
    try:
        args = _args[request.op].decode(request.args)
    except _NONSENSE as error:
        raise control_error("BAD_REQUEST", f"{request.op}: {error} (args)") from None
    stream = request.stream or ""
    return ParsedRequest(request.id, request.client, request.op, stream, args, _sameness(request.op, stream, args))


def _sameness(op: str, stream: str, args: msgspec.Struct) -> bytes:
    return msgspec.json.encode((op, stream, args))
