"""A request that is not done: why, as HTTP status and as JSON."""

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
    "BAD_CONFIG": 422,
    "WORKER_RESTARTING": 503,
    "TIMEOUT": 504,
    "BUSY": 503,
    "UNREACHABLE": 503,
    "INTERNAL": 500,
}


class ApiError(Exception):  # it answers a request; nothing failed here
    """Raised anywhere in a request to answer it with an error.

    Args:
        status: HTTP status.
        code: For programs.
        message: What is wrong and how to mend it.
        retryable: The same request may succeed later.
        headers: To send with the answer.
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
    def of(cls, error: ControlError) -> ApiError:
        """Pass on what the daemon's control channel said."""
        return cls(_STATUS.get(error.code, 500), error.code, error.message, retryable=error.retryable)

    def response(self) -> Response:
        """Return the answer."""
        fault = ErrorBody(code=self.code, message=self.message, retryable=self.retryable)
        body = msgspec.json.encode(ErrorResponse(error=fault))
        return Response(body, self.status, self.headers, "application/json")
