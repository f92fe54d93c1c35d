"""The table entry of one HTTP operation. Routes and the OpenAPI document are both made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamseg.common.clip_names import CLIP_NAME
from streamseg.protocol.field_problems import json_problem
from streamseg.protocol.prompt_rules import MAX_OBJECT_ID
from streamseg.protocol.topics import STREAM_ID
from streamseg.web.api_error import ApiError

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


LANGUAGES: Final = ("py", "cpp", "mjs")
"""Extensions of the programs for a stream."""

PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "stream": {"type": "string", "pattern": f"^{STREAM_ID.pattern}$"},
    "object": {"type": "integer", "minimum": 1, "maximum": MAX_OBJECT_ID},
    "clip": {"type": "string", "pattern": f"^{CLIP_NAME.pattern.replace('?P', '?')}$"},
    "language": {"type": "string", "enum": list(LANGUAGES)},
}
PICTURE_QUERY: Final[Mapping[str, dict[str, Any]]] = {
    "overlay": {"type": "boolean", "default": False, "description": "Draw the objects' masks over the picture."},
    "_": {"type": "string", "description": "Ignored. A page that gives it a new value makes the browser load again."},
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        method: HTTP method.
        path: URL path; each parameter in braces is one of ``PATH_PARAMETERS``.
        handler: Serves the request.
        summary: Description in one line.
        response: Type of the JSON response, or another media type; None for an empty response.
        body: Type of the JSON request body.
        query: JSON Schema of each query parameter.
        any_query: Ignore other query parameters instead of refusing them.
        errors: Error statuses in addition to those that all operations share.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    response: type | str | None
    body: type | None = None
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    any_query: bool = False
    errors: frozenset[int] = frozenset()

    async def serve(self, request: Request) -> Response:
        """Call the handler.

        Raises:
            ApiError: The request has a query parameter that the operation does not have.
        """
        for name in request.query_params:
            if name not in self.query and not self.any_query:
                known = f"takes {', '.join(self.query)}" if self.query else "takes none"
                shown = f"query parameter {name[:20]!r}"
                raise ApiError(400, "BAD_REQUEST", f"{shown} is unknown: {self.method} {self.path} {known}")
        return await self.handler(request)


def path_object_id(request: Request) -> int:
    """Return the object id in the path of a request.

    Raises:
        ApiError: It is not an object id.
    """
    text = request.path_params["object"]
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= MAX_OBJECT_ID:
        raise ApiError(
            400, "BAD_REQUEST", f"object: {text[:20]!r} is invalid: expected a number from 1 to {MAX_OBJECT_ID}"
        )
    return int(text)


def query_flag(request: Request, name: str) -> bool:
    """Return a query parameter that is true or false, false if it is absent.

    Raises:
        ApiError: It is neither true nor false.
    """
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise ApiError(400, "BAD_REQUEST", f"{name}: {text[:20]!r} is invalid: expected true or false")
    return text == "true"


async def read_body(request: Request, kind: type[T]) -> T:
    """Return the decoded JSON body of a request.

    Raises:
        ApiError: The body is not JSON of that type.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "BAD_REQUEST", "the body must be JSON: send Content-Type: application/json")
    body = await request.body()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = json_problem(body, kind, "the body")
        raise ApiError(400, "BAD_REQUEST", f"{problem}; see /openapi.json") from None


def json_response(content: object) -> Response:
    """Return a struct as a JSON response."""
    return Response(msgspec.json.encode(content), media_type="application/json")
