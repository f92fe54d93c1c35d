"""JSON responses of the HTTP API, also sent to the page. ``/openapi.json`` describes every field."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streamseg.client import DaemonStatusMessage, EventMessage, StatusMessage
from streamseg.protocol.control import ErrorBody
from streamseg.protocol.palette import color_of
from streamseg.protocol.published import FindCounts, ObjectInfo, Overload, PrompterCounts


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Response to a failed request."""

    error: ErrorBody


class ObjectResponse(ObjectInfo, frozen=True, kw_only=True):
    """An object on the newest tracked frame of its stream."""

    age_s: Annotated[float, Meta(description="Seconds since the web process first saw it.")]
    colour: Annotated[str, Meta(description="#rrggbb; streamseg draws the object in this color everywhere.")]

    @classmethod
    def from_message(cls, obj: ObjectInfo, age_s: float) -> ObjectResponse:
        """Convert an object of a published message."""
        red, green, blue = color_of(obj.id)
        fields = {name: getattr(obj, name) for name in ObjectInfo.__struct_fields__}
        return cls(**fields, age_s=round(age_s, 1), colour=f"#{red:02x}{green:02x}{blue:02x}")


class ObjectsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of a stream."""

    stream: Annotated[str, Meta(description="Id of the stream.")]
    frame: Annotated[int | None, Meta(description="Newest frame; null before the first.")]
    repeats: Annotated[
        int | None,
        Meta(description="Frame the masks were computed on, if this one was identical and not tracked; else null."),
    ]
    age_ms: Annotated[float | None, Meta(description="Current age of that frame.")]
    objects: list[ObjectResponse]


class StreamResponse(msgspec.Struct, frozen=True, kw_only=True):
    """State of a stream, from its newest status message."""

    stream: Annotated[str, Meta(description="Id of the stream.")]
    id: Annotated[str, Meta(description="The same; the name of this field before version 0.2.")]
    state: Annotated[str, Meta(description="starting, connecting, streaming, reconnecting, ended or failed.")]
    source: Annotated[str, Meta(description="Address of the source, without credentials.")]
    size: Annotated[tuple[int, int], Meta(description="Width and height in pixels; zeros until known.")]
    fps_in: Annotated[float, Meta(description="Frames captured per second.")]
    fps_out: Annotated[float, Meta(description="Frames with masks per second, tracked or repeated.")]
    frames: Annotated[int, Meta(description="Frames captured in this session.")]
    tracked: Annotated[int, Meta(description="Frames tracked in this session.")]
    repeated: Annotated[
        int, Meta(description="Frames of this session not tracked because they were identical to the last tracked one.")
    ]
    drops: Annotated[dict[str, int], Meta(description="Frames lost in this session, by stage/reason.")]
    reconnects: Annotated[int, Meta(description="Reconnects in this session.")]
    epoch: Annotated[int, Meta(description="Increases at each reconnect, size change or time jump.")]
    objects: Annotated[int, Meta(description="Objects on the newest tracked frame.")]
    latency_ms: Annotated[dict[str, float], Meta(description="Median of the last second, by stage.")]
    last_error: Annotated[str, Meta(description="Last error of the source; empty if there is none.")]
    paused: Annotated[bool, Meta(description="Tracking is paused by request.")]
    overload: Annotated[
        Overload | None,
        Meta(description="The worker does not keep up, or did not and something is still done about it; else null."),
    ]
    find: Annotated[FindCounts | None, Meta(description="What the search for objects has done; null if it is off.")]
    prompters: Annotated[
        dict[str, PrompterCounts] | None, Meta(description="What each prompter has done; null if there are none.")
    ]
    no_masks_s: Annotated[
        float | None, Meta(description="Seconds since frames come, but no masks of them; null while masks come.")
    ]

    @classmethod
    def from_message(cls, status: StatusMessage) -> StreamResponse:
        """Convert a status message."""
        shared = {name: getattr(status, name) for name in cls.__struct_fields__ if name != "id"}
        return cls(id=status.stream, **shared)


class DaemonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """State of the daemon, from its newest status message."""

    session: Annotated[str, Meta(description="Changes when the daemon restarts.")]
    version: Annotated[str, Meta(description="Version of streamseg.")]
    model: Annotated[str, Meta(description="Name of the model.")]
    device: Annotated[str, Meta(description="Device of the worker; empty until it is ready.")]
    uptime_s: Annotated[float, Meta(description="Uptime of the daemon.")]
    processes: Annotated[dict[str, str], Meta(description="State of each process.")]
    restarts: Annotated[dict[str, int], Meta(description="Restarts of each process in this session.")]
    device_memory_bytes: Annotated[int, Meta(description="GPU memory held by the worker; 0 on a CPU.")]
    recompiles: Annotated[
        int, Meta(description="Graphs compiled after the warm-up, and times that all graphs were recorded again.")
    ]
    engine: Annotated[str, Meta(description="What runs the model: eager, eager (converting 40 %), openvino, compiled.")]

    @classmethod
    def from_message(cls, status: DaemonStatusMessage) -> DaemonResponse:
        """Convert a status message."""
        return cls(**{name: getattr(status, name) for name in cls.__struct_fields__})


class StreamsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """State of the daemon and all streams."""

    daemon: Annotated[DaemonResponse | None, Meta(description="Null before its first status.")]
    streams: list[StreamResponse]


class EventResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An event; docs/protocol.md lists the kinds."""

    stream: str
    kind: str
    t_wall_ms: int
    frame: int | None
    object: int | None
    label: str
    detail: str

    @classmethod
    def from_message(cls, event: EventMessage) -> EventResponse:
        """Convert a published event."""
        return cls(
            stream=event.stream,
            kind=event.event,
            t_wall_ms=event.t_wall_ns // 1_000_000,
            frame=event.frame,
            object=event.object,
            label=event.label,
            detail=event.detail,
        )


class HealthResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service is healthy, and if not, what is missing."""

    ok: bool
    missing: Annotated[list[str], Meta(description="What is not ready.")] = []
