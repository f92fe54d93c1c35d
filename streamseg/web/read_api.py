"""Operations that only read: health, metrics, streams, objects."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from streamseg.web.api_error import ApiError
from streamseg.web.hub import Hub
from streamseg.web.metrics import CONTENT_TYPE, Metrics
from streamseg.web.operations import Operation, json_response
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
        hub: State of the daemon.
        metrics: Content of ``/metrics``.
    """

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        self._hub = hub
        self._metrics = metrics

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        errors = frozenset({404})
        return [
            # A probe that defeats caches with a query must not take the daemon for one that is down.
            Operation(
                "GET", "/healthz", self.healthz, "Whether the web process responds.", HealthResponse, any_query=True
            ),
            Operation(
                "GET",
                "/readyz",
                self.readyz,
                "Whether the daemon works; 503 until it does.",
                HealthResponse,
                any_query=True,
            ),
            Operation("GET", "/metrics", self.metrics, "Metrics for Prometheus.", CONTENT_TYPE),
            Operation("GET", "/v1/streams", self.streams, "State of the daemon and all streams.", StreamsResponse),
            Operation("GET", "/v1/streams/{stream}", self.stream, "State of a stream.", StreamResponse, errors=errors),
            Operation(
                "GET",
                "/v1/streams/{stream}/objects",
                self.objects,
                "Objects on the newest frame.",
                ObjectsResponse,
                errors=errors,
            ),
        ]

    async def healthz(self, request: Request) -> Response:
        """Report that the web process responds."""
        return json_response(HealthResponse(ok=True))

    async def readyz(self, request: Request) -> Response:
        """Report whether the daemon works."""
        missing = self._hub.missing()
        if missing:
            raise ApiError(503, "NOT_READY", f"not ready: {'; '.join(missing)}", retryable=True)
        return json_response(HealthResponse(ok=True))

    async def metrics(self, request: Request) -> Response:
        """Return all metrics."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def streams(self, request: Request) -> Response:
        """Return the state of the daemon and all streams."""
        daemon = self._hub.daemon
        statuses = [view.status for view in self._hub.streams.values() if view.status is not None]
        return json_response(
            StreamsResponse(
                daemon=None if daemon is None else DaemonResponse.from_message(daemon),
                streams=[StreamResponse.from_message(status) for status in statuses],
            )
        )

    async def stream(self, request: Request) -> Response:
        """Return the state of a stream."""
        status = find_stream(self._hub, request).status
        if status is None:
            raise ApiError(503, "NOT_READY", "the stream has not reported its status yet", retryable=True)
        return json_response(StreamResponse.from_message(status))

    async def objects(self, request: Request) -> Response:
        """Return the objects of a stream."""
        return json_response(find_stream(self._hub, request).objects())


def find_stream(hub: Hub, request: Request) -> StreamView:
    """Return the stream named in the path of a request.

    Raises:
        ApiError: It does not exist, or the daemon has not reported its streams yet.
    """
    if hub.daemon is None:
        raise ApiError(503, "NOT_READY", "the daemon has not reported its streams yet", retryable=True)
    name = request.path_params["stream"]
    view = hub.streams.get(name)
    if view is None:
        known = ", ".join(hub.streams) or "none"
        raise ApiError(404, "STREAM_NOT_FOUND", f"there is no stream {name[:64]!r}; streams: {known}")
    return view


def known_stream(hub: Hub, request: Request) -> str:
    """Return the id of the stream named in the path of a request.

    Raises:
        ApiError: As for :func:`find_stream`.
    """
    find_stream(hub, request)
    return str(request.path_params["stream"])
