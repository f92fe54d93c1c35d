"""What programs can ask: health, metrics, streams, objects."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from streamseg.web.api_error import ApiError
from streamseg.web.client_limit import ClientLimit
from streamseg.web.hub import Hub
from streamseg.web.metrics import CONTENT_TYPE, metrics_text
from streamseg.web.operations import Operation, json_answer
from streamseg.web.responses import (
    DaemonResponse,
    HealthResponse,
    ObjectsResponse,
    StreamResponse,
    StreamsResponse,
)
from streamseg.web.stream_view import StreamView


class ReadApi:
    """Operations that change nothing.

    Args:
        hub: What the daemon says.
        seats: Who watches.
    """

    def __init__(self, hub: Hub, seats: ClientLimit) -> None:
        self._hub = hub
        self._seats = seats

    def operations(self) -> list[Operation]:
        """Return the table."""
        not_found = frozenset({404})
        return [
            Operation("GET", "/healthz", self.healthz, "This process works.", HealthResponse),
            Operation("GET", "/readyz", self.readyz, "The daemon works: 503 until it does.", HealthResponse),
            Operation("GET", "/metrics", self.metrics, "Metrics for Prometheus.", CONTENT_TYPE),
            Operation("GET", "/v1/streams", self.streams, "The daemon and all streams.", StreamsResponse),
            Operation(
                "GET", "/v1/streams/{stream}", self.stream, "State of a stream.", StreamResponse, refusals=not_found
            ),
            Operation(
                "GET",
                "/v1/streams/{stream}/objects",
                self.objects,
                "Objects on the newest frame.",
                ObjectsResponse,
                refusals=not_found,
            ),
        ]

    async def healthz(self, request: Request) -> Response:
        """Say that this process answers."""
        return json_answer(HealthResponse(ok=True))

    async def readyz(self, request: Request) -> Response:
        """Say whether the daemon works."""
        missing = self._hub.missing()
        if missing:
            raise ApiError(503, "NOT_READY", f"not ready: {'; '.join(missing)}", retryable=True)
        return json_answer(HealthResponse(ok=True))

    async def metrics(self, request: Request) -> Response:
        """Return all metrics."""
        return Response(metrics_text(self._hub, watching=self._seats.taken), media_type=CONTENT_TYPE)

    async def streams(self, request: Request) -> Response:
        """Return the daemon's and all streams' states."""
        daemon = self._hub.daemon
        return json_answer(
            StreamsResponse(
                daemon=None if daemon is None else DaemonResponse.of(daemon),
                streams=[
                    StreamResponse.of(view.status) for view in self._hub.streams.values() if view.status is not None
                ],
            )
        )

    async def stream(self, request: Request) -> Response:
        """Return a stream's state."""
        status = view_of(self._hub, request).status
        if status is None:
            raise ApiError(503, "NOT_READY", "the stream has not been heard of yet", retryable=True)
        return json_answer(StreamResponse.of(status))

    async def objects(self, request: Request) -> Response:
        """Return a stream's objects."""
        return json_answer(view_of(self._hub, request).objects())


def view_of(hub: Hub, request: Request) -> StreamView:
    """Return the stream in a request's path.

    Raises:
        ApiError: there is no such stream, or the daemon has not said yet which there are.
    """
    if hub.daemon is None:
        raise ApiError(503, "NOT_READY", "the daemon has not been heard of yet", retryable=True)
    view = hub.streams.get(request.path_params["stream"])
    if view is None:
        known = ", ".join(hub.streams) or "none yet"
        raise ApiError(404, "STREAM_NOT_FOUND", f"there is no such stream: the daemon has {known}")
    return view
