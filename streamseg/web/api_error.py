"""Errors of the HTTP API: status code and JSON body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from streamseg.errors import ControlError
from streamseg.protocol.control import ErrorBody
from streamseg.web.responses import ErrorResponse

_STATUS: Final[Mapping[str, int]] = {
    "BAD_REQUEST": 400,
    "UNSUPPORTED_VERSION": 400,
    "UNKNOWN_OP": 400,
    "STREAM_NOT_FOUND": 404,
    "STREAM_EXISTS": 409,
    "OBJECT_NOT_FOUND": 404,
    "BAD_PROMPT": 422,
    "FRAME_EXPIRED": 410,
    "NO_FRAME_YET": 503,
    "NOTHING_TO_UNDO": 409,
    "NOTHING_TO_REDO": 409,
    "BAD_CONFIG": 422,
    "WORKER_RESTARTING": 503,
    "TIMEOUT": 504,
    "BUSY": 503,
    "FORBIDDEN": 403,
    "UNREACHABLE": 503,
    "INTERNAL": 500,
}


class ApiError(Exception):
    """Ends a request with an error response. May be raised anywhere in a handler or middleware.

    Args:
        status: HTTP status code.
        code: Stable name, for programs.
        message: What is wrong and how to fix it, as readable text.
        retryable: Whether the same request may succeed later.
        headers: Extra response headers.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retryable: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retryable = retryable
        self.headers = headers

    @classmethod
    def from_control(cls, error: ControlError) -> ApiError:
        """Return the HTTP form of an error from the control channel."""
        return cls(_STATUS.get(error.code, 500), error.code, error.message, retryable=error.retryable)

    def response(self) -> Response:
        """Return the error response."""
        error = ErrorBody(code=self.code, message=self.message, retryable=self.retryable)
        body = msgspec.json.encode(ErrorResponse(error=error))
        return Response(body, self.status, self.headers, "application/json")
