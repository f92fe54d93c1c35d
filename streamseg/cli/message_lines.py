"""Format messages of the daemon as readable lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    FrameMessage,
    ImageFrame,
    MaskFrame,
    Message,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.protocol.published import DaemonStatus, ObjectInfo, Overload, Status

_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "?")


def plain(text: str) -> str:
    """Return text without control characters, so that foreign text cannot control the terminal."""
    return text.translate(_CONTROL)


def message_line(message: Message) -> str:
    """Return one line: time, stream, kind and content."""
    when = datetime.fromtimestamp(message.t_wall_ns / 1e9).isoformat(sep=" ", timespec="milliseconds")[11:]
    match message:
        case FrameMessage():
            text = _frame(message)
        case EventMessage():
            text = _event(message)
        case StatusMessage():
            text = stream_state(message)
        case DaemonStatusMessage():
            text = daemon_state(message)
    lost = f"  [{message.gap} lost on the way]" if message.gap else ""
    return plain(f"{when} {message.stream:<8} {message.kind:<7} {text}{lost}")


def _frame(message: FrameMessage) -> str:
    head = f"frame {message.frame}, {message.age_ms:.0f} ms old"
    if message.skipped:
        head += f", {message.skipped} skipped"
    match message:
        case MaskFrame(objects=objects, repeats=repeats) | ObjectsFrame(objects=objects, repeats=repeats):
            repeated = "" if repeats is None else f", repeats {repeats}"
            return f"{head}{repeated}: {_objects(objects)}"
        case ImageFrame():
            return f"{head}: {message.size[0]}x{message.size[1]}, {len(message.jpeg) / 1024:.0f} KiB"
        case _:
            return head


def _objects(objects: Sequence[ObjectInfo]) -> str:
    return "; ".join(_object(obj) for obj in objects) or "no objects"


def _object(obj: ObjectInfo) -> str:
    name = f"{obj.id} {obj.label}".strip()
    if not obj.area:
        return f"{name} {obj.state}"
    x, y, w, h = obj.bbox
    confidence = "" if obj.confidence is None else f" confidence {obj.confidence:.2f}"
    return f"{name} {obj.state} at {x},{y} {w}x{h} score {obj.score:.2f}{confidence}"


def _event(message: EventMessage) -> str:
    text = message.event
    if message.object is not None:
        text += f" {message.object} {message.label}".rstrip()
    if message.frame is not None:
        text += f" on frame {message.frame}"
    return f"{text}: {message.detail}" if message.detail else text


def stream_state(message: StatusMessage | Status) -> str:
    """Describe the state of a stream in words."""
    width, height = message.size
    parts = [
        message.state + (", tracking is paused" if message.paused else ""),
        f"{width}x{height}",
        f"{message.fps_in:.1f} frames/s in, {message.fps_out:.1f} out",
        _count(message.objects, "object"),
    ]
    if "total" in message.latency_ms:
        parts.append(f"{message.latency_ms['total']:.0f} ms")
    if dropped := {reason: count for reason, count in message.drops.items() if count}:
        parts.append("dropped " + ", ".join(f"{count} {reason}" for reason, count in dropped.items()))
    if message.repeated:
        parts.append(f"{message.repeated} repeated")
    if message.reconnects:
        parts.append(_count(message.reconnects, "reconnect"))
    if message.overload:
        parts.append(_overload(message.overload))
    if message.no_masks_s:
        parts.append(f"NO MASKS for {message.no_masks_s:.0f} s although frames come")
    if message.last_error:
        parts.append(message.last_error)
    return "; ".join(parts)


def _overload(overload: Overload) -> str:
    text = f"overloaded, {overload.dropped:.0%} dropped" if overload.dropped else "was overloaded"
    if overload.image_size:
        text += f"; model input reduced to {overload.image_size} pixels"
    suspended = ", ".join(map(str, overload.suspended))
    return f"{text}; objects not tracked: {suspended}" if suspended else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def daemon_state(message: DaemonStatusMessage | DaemonStatus) -> str:
    """Describe the state of the daemon in words."""
    processes = ", ".join(f"{name} {state}" for name, state in message.processes.items())
    restarts = sum(message.restarts.values())
    engine = f", {message.engine}" if message.engine else ""
    where = f"{message.model} on {message.device}{engine}" if message.device else f"loading {message.model}"
    text = f"{where}, up {message.uptime_s:.0f} s; {processes or 'starting'}"
    text = f"{text}; {_count(restarts, 'restart')}" if restarts else text
    return f"{text}; not recording: {message.recording_stopped}" if message.recording_stopped else text
