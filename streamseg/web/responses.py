"""What the HTTP interface and the page are told, as JSON. Every field is described in ``/openapi.json``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streamseg.client import DaemonStatusMessage, EventMessage, StatusMessage
from streamseg.common.palette import colour_of
from streamseg.protocol.control import ErrorBody
from streamseg.protocol.published import ObjectInfo


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a request that was refused."""

    error: ErrorBody


class ObjectResponse(ObjectInfo, frozen=True, kw_only=True):
    """An object on the newest tracked frame of its stream."""

    age_s: Annotated[float, Meta(description="Seconds since it was first seen by this interface.")]
    colour: Annotated[str, Meta(description="#rrggbb in which streamseg draws it, everywhere.")]

    @classmethod
    def of(cls, obj: ObjectInfo, age_s: float) -> ObjectResponse:
        """Tell of an object as it came."""
        red, green, blue = colour_of(obj.id)
        fields = {name: getattr(obj, name) for name in ObjectInfo.__struct_fields__}
        return cls(**fields, age_s=round(age_s, 1), colour=f"#{red:02x}{green:02x}{blue:02x}")


class ObjectsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of a stream."""

    stream: Annotated[str, Meta(description="Id of the stream.")]
    frame: Annotated[int | None, Meta(description="The newest frame; null before the first one.")]
    repeats: Annotated[
        int | None, Meta(description="Frame that was tracked, where this one showed the same and was not; else null.")
    ]
    age_ms: Annotated[float | None, Meta(description="How old that frame is now.")]
    objects: list[ObjectResponse]


class StreamResponse(msgspec.Struct, frozen=True, kw_only=True):
    """State of a stream, as its status of the last second says."""

    id: Annotated[str, Meta(description="Id of the stream.")]
    state: Annotated[str, Meta(description="starting, connecting, streaming, reconnecting, ended or failed.")]
    source: Annotated[str, Meta(description="Its address, without credentials.")]
    size: Annotated[tuple[int, int], Meta(description="Width and height in pixels; zeros until known.")]
    fps_in: Annotated[float, Meta(description="Frames captured a second.")]
    fps_out: Annotated[float, Meta(description="Frames with masks a second, tracked or repeated.")]
    frames: Annotated[int, Meta(description="Captured in this session.")]
    tracked: Annotated[int, Meta(description="Tracked in this session.")]
    repeated: Annotated[
        int, Meta(description="Not tracked in this session, since they showed the same as the last that was.")
    ]
    drops: Annotated[dict[str, int], Meta(description="Losses of this session by stage/reason.")]
    reconnects: Annotated[int, Meta(description="Of this session.")]
    epoch: Annotated[int, Meta(description="Rises at each reconnect, size change or time jump.")]
    objects: Annotated[int, Meta(description="Objects on the newest tracked frame.")]
    latency_ms: Annotated[dict[str, float], Meta(description="Stage -> median of the last second.")]
    last_error: Annotated[str, Meta(description="Of the source; empty if all is well.")]
    paused: Annotated[bool, Meta(description="Nothing in it is tracked, by request.")]

    @classmethod
    def of(cls, status: StatusMessage) -> StreamResponse:
        """Tell of a stream's status as it came."""
        shared = {name: getattr(status, name) for name in cls.__struct_fields__ if name != "id"}
        return cls(id=status.stream, **shared)


class DaemonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """State of the daemon, as its status of the last second says."""

    session: Annotated[str, Meta(description="Changes when the daemon restarts.")]
    version: Annotated[str, Meta(description="Of streamseg.")]
    model: Annotated[str, Meta(description="Name of the model.")]
    device: Annotated[str, Meta(description="What the worker runs on; empty until it is ready.")]
    uptime_s: Annotated[float, Meta(description="Of the daemon.")]
    processes: Annotated[dict[str, str], Meta(description="Process -> its state.")]
    restarts: Annotated[dict[str, int], Meta(description="Process -> restarts in this session.")]
    device_memory_bytes: Annotated[int, Meta(description="What the worker holds of a GPU's memory; 0 on a CPU.")]
    recompiles: Annotated[
        int, Meta(description="Graphs compiled after the warm-up, and times that all were recorded anew.")
    ]

    @classmethod
    def of(cls, status: DaemonStatusMessage) -> DaemonResponse:
        """Tell of the daemon's status as it came."""
        return cls(**{name: getattr(status, name) for name in cls.__struct_fields__})


class StreamsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon and all its streams."""

    daemon: Annotated[DaemonResponse | None, Meta(description="Null until it was heard of.")]
    streams: list[StreamResponse]


class EventResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened; the kinds are those of docs/protocol.md."""

    stream: str
    kind: str
    t_wall_ms: int
    frame: int | None
    object: int | None
    label: str
    detail: str

    @classmethod
    def of(cls, event: EventMessage) -> EventResponse:
        """Tell of an event as it came."""
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
    """Whether all is well, and if not, what is missing."""

    ok: bool
    missing: Annotated[list[str], Meta(description="What is not ready.")] = []
