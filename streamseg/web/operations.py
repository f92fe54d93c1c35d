"""One entry of the HTTP interface: what serves it and what describes it, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamseg.protocol.topics import STREAM_ID
from streamseg.web.api_error import ApiError

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

_MAX_ID: Final = 2**31 - 1

PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "stream": {"type": "string", "pattern": f"^{STREAM_ID.pattern}$"},
    "object": {"type": "integer", "minimum": 1, "maximum": _MAX_ID},
}
OVERLAY: Final[Mapping[str, dict[str, Any]]] = {
    "overlay": {"type": "boolean", "default": False, "description": "Draw the objects' masks over the picture."}
}


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    Attributes:
        method: Of HTTP.
        path: With parameters in braces, each one of ``PATH_PARAMETERS``.
        handler: Serves it.
        summary: One line for people.
        answer: Type of the JSON that it answers, or another media type; None for an empty answer.
        body: Type of the JSON that it takes.
        query: Parameters of the query with their JSON Schema.
        refusals: HTTP statuses with which it may refuse, besides those that everything has.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type | str | None
    body: type | None = None
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    refusals: frozenset[int] = frozenset()


def object_of(request: Request) -> int:
    """Return the object's id in the path.

    Raises:
        ApiError: it is none.
    """
    text = request.path_params["object"]
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= _MAX_ID:
        raise ApiError(400, "BAD_REQUEST", f"object: give the object's number, 1 to {_MAX_ID}")
    return int(text)


def overlay_of(request: Request) -> bool:
    """Return whether masks are to be drawn.

    Raises:
        ApiError: the parameter is neither true nor false.
    """
    text = request.query_params.get("overlay", "false")
    if text not in ("true", "false"):
        raise ApiError(400, "BAD_REQUEST", "overlay: give true or false")
    return text == "true"


async def body_of(request: Request, kind: type[T]) -> T:
    """Return the request's body.

    Raises:
        ApiError: it is not JSON of that type.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "BAD_REQUEST", "send Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "BAD_REQUEST", f"the body cannot be read: {error}; see /openapi.json") from None


def json_answer(answer: object, status: int = 200) -> Response:
    """Return an answer as JSON."""
    return Response(msgspec.json.encode(answer), status, media_type="application/json")
