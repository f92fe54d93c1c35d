"""What programs can ask: health, metrics, streams, objects."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from streamseg.web.answers import (
    DaemonAnswer,
    HealthAnswer,
    ObjectsAnswer,
    StreamAnswer,
    StreamsAnswer,
)
from streamseg.web.hub import Hub
from streamseg.web.metrics import CONTENT_TYPE, metrics_text
from streamseg.web.operations import Operation, json_answer
from streamseg.web.refusal import Refusal
from streamseg.web.seats import Seats
from streamseg.web.stream_view import StreamView


class ReadApi:
    """Operations that change nothing.

    Args:
        hub: What the daemon says.
        seats: Who watches.
    """

    def __init__(self, hub: Hub, seats: Seats) -> None:
        self._hub = hub
        self._seats = seats

    def operations(self) -> list[Operation]:
        """Return the table."""
        not_found = frozenset({404})
        return [
            Operation("GET", "/healthz", self.healthz, "This process works.", HealthAnswer),
            Operation("GET", "/readyz", self.readyz, "The daemon works: 503 until it does.", HealthAnswer),
            Operation("GET", "/metrics", self.metrics, "Metrics for Prometheus.", CONTENT_TYPE),
            Operation("GET", "/v1/streams", self.streams, "The daemon and all streams.", StreamsAnswer),
            Operation(
                "GET", "/v1/streams/{stream}", self.stream, "State of a stream.", StreamAnswer, refusals=not_found
            ),
            Operation(
                "GET",
                "/v1/streams/{stream}/objects",
                self.objects,
                "Objects on the newest frame.",
                ObjectsAnswer,
                refusals=not_found,
            ),
        ]

    async def healthz(self, request: Request) -> Response:
        """Say that this process answers."""
        return json_answer(HealthAnswer(ok=True))

    async def readyz(self, request: Request) -> Response:
        """Say whether the daemon works."""
        missing = self._hub.missing()
        if missing:
            raise Refusal(503, "NOT_READY", f"not ready: {'; '.join(missing)}", retryable=True)
        return json_answer(HealthAnswer(ok=True))

    async def metrics(self, request: Request) -> Response:
        """Return all metrics."""
        return Response(metrics_text(self._hub, watching=self._seats.taken), media_type=CONTENT_TYPE)

    async def streams(self, request: Request) -> Response:
        """Return the daemon's and all streams' states."""
        daemon = self._hub.daemon
        return json_answer(
            StreamsAnswer(
                daemon=None if daemon is None else DaemonAnswer.of(daemon),
                streams=[
                    StreamAnswer.of(view.status) for view in self._hub.streams.values() if view.status is not None
                ],
            )
        )

    async def stream(self, request: Request) -> Response:
        """Return a stream's state."""
        status = view_of(self._hub, request).status
        if status is None:
            raise Refusal(503, "NOT_READY", "the stream has not been heard of yet", retryable=True)
        return json_answer(StreamAnswer.of(status))

    async def objects(self, request: Request) -> Response:
        """Return a stream's objects."""
        return json_answer(view_of(self._hub, request).objects())


def view_of(hub: Hub, request: Request) -> StreamView:
    """Return the stream in a request's path.

    Raises:
        Refusal: there is no such stream, or the daemon has not said yet which there are.
    """
    if hub.daemon is None:
        raise Refusal(503, "NOT_READY", "the daemon has not been heard of yet", retryable=True)
    view = hub.streams.get(request.path_params["stream"])
    if view is None:
        known = ", ".join(hub.streams) or "none yet"
        raise Refusal(404, "STREAM_NOT_FOUND", f"there is no such stream: the daemon has {known}")
    return view
