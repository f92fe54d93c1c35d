"""Draws the screen of ``streamseg top`` from its state."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamseg.cli.message_lines import plain
from streamseg.cli.top_state import PANES, StreamState, TopState
from streamseg.client.results import DaemonStatusMessage, EventMessage, StatusMessage
from streamseg.protocol.palette import color_of
from streamseg.protocol.published import ObjectInfo

_GOOD: Final = "green"
_WARN: Final = "yellow"
_BAD: Final = "bold red"
_QUIET: Final = "dim"
_STATES: Final = {"streaming": _GOOD, "ended": _QUIET, "failed": _BAD, "reconnecting": _BAD, "connecting": _WARN}
_OBJECT_STATES: Final = {"tracked": _GOOD, "uncertain": _WARN, "occluded": _WARN, "suspended": _WARN, "lost": _BAD}
_BAR: Final = 10
_OTHER_LINES: Final = 7
"""Lines of the screen outside the streams and the pane."""
_PANE_SHARE: Final = 0.5
_LEFT_OUT: Final = {
    84: ("SCORE", "AREA"),
    76: ("LOST", "RECONN", "LOG LINES DROPPED"),
    64: ("BOX", "LOST/s"),
    56: ("IN/s",),
    48: ("CONFIDENCE", "LATENCY"),
    36: ("OUT/s", "OBJ"),
}
"""Width of the terminal -> columns to hide if it is narrower."""
_SHORTENED: Final = frozenset({"", "STREAM", "LABEL", "EVENT", "STAGE/REASON", "PROCESS"})
"""Columns that may be truncated if there is no room. The others hold numbers, which must be complete."""


def screen(state: TopState, width: int, height: int) -> RenderableType:
    """Return the screen for a terminal of this size in columns and lines."""
    room = max(2, height - _OTHER_LINES)
    streams = min(len(state.streams), max(1, int(room * (1 - _PANE_SHARE))))
    pane = max(1, room - streams)
    shown = [_head(state), _streams(state, streams), Text(""), _pane_title(state), _pane(state, pane), _keys()]
    for part in shown:
        if isinstance(part, Table):
            _narrow(part, width)
    return Group(*shown)


def _narrow(table: Table, width: int) -> None:
    """Hide columns: a few whole ones are better than the first letters of all."""
    dropped = {name for narrower, names in _LEFT_OUT.items() if width < narrower for name in names}
    table.columns[:] = [column for column in table.columns if str(column.header) not in dropped]


def _head(state: TopState) -> Text:
    daemon = state.daemon
    if daemon is None:
        text = Text(f"waiting for a daemon at {state.endpoint}")
        if state.silent_s:
            why = plain(state.problem) or "is streamseg running?"
            text.append(f": nothing for {state.silent_s:.0f} s; {why}", _BAD)
        return text
    what = plain(f"{daemon.version}  {daemon.model} on {daemon.device or '...'}")
    text = Text.assemble(("streamseg ", "bold"), what)
    if daemon.engine:
        text.append(f" ({plain(daemon.engine)})")
    text.append(f"  up {_duration(daemon.uptime_s)}")
    if restarts := sum(daemon.restarts.values()):
        text.append(f"  {restarts} restarts", _WARN)
    if daemon.device_memory_bytes:
        text.append(f"  {daemon.device_memory_bytes / 1e9:.1f} GB")
    if daemon.recording_stopped:
        text.append(f"  not recording: {plain(daemon.recording_stopped)}", _BAD)
    if state.silent_s:
        text.append(f"  SILENT for {state.silent_s:.0f} s", _BAD)
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


def _streams(state: TopState, lines: int) -> Table:
    table = _table("", "STREAM", "STATE", "IN/s", "OUT/s", "OBJ", "LATENCY", "LOST/s", "LOST", "RECONN", "")
    for column in (3, 4, 5, 6, 7, 8, 9):
        table.columns[column].justify = "right"
    table.columns[0].min_width = 1  # the mark
    table.columns[10].ratio = 1
    names = list(state.streams)
    at = names.index(state.selected) if state.selected in names else 0
    first = max(0, min(at - lines // 2, len(names) - lines))
    for name in names[first : first + lines]:
        chosen = name == state.selected
        row = _stream_row(state.streams[name])
        table.add_row("▶" if chosen else "", _line(name, "bold" if chosen else ""), *row)
    return table


def _stream_row(stream: StreamState) -> list[Text]:
    status = stream.status
    if status is None:
        return [Text("...", _QUIET)]
    word = "paused" if status.paused else status.state
    lost_per_s = sum(stream.losses_per_s.values())
    return [
        Text(plain(word), _STATES.get(word, _WARN)),
        Text(f"{status.fps_in:.1f}"),
        Text(f"{status.fps_out:.1f}", _WARN if status.fps_in and status.fps_out < status.fps_in / 2 else ""),
        Text(str(status.objects)),
        Text(f"{status.latency_ms['total']:.0f} ms" if "total" in status.latency_ms else "-"),
        Text(f"{lost_per_s:.1f}" if lost_per_s else "-", _WARN if lost_per_s else _QUIET),
        Text(str(sum(status.drops.values()))),
        Text(str(status.reconnects), _WARN if status.reconnects else ""),
        _line(_trouble(status), _BAD),
    ]


def _trouble(status: StatusMessage) -> str:
    if status.no_masks_s:
        return f"no masks for {status.no_masks_s:.0f} s"
    if status.overload and status.overload.dropped:
        return f"overloaded, {status.overload.dropped:.0%} dropped"
    return status.last_error


def _pane_title(state: TopState) -> Text:
    of = f" of {state.selected}" if state.pane in ("objects", "losses") and state.selected else ""
    return Text(plain(f"{state.pane}{of}"), "bold")


def _pane(state: TopState, lines: int) -> RenderableType:
    match state.pane:
        case "objects":
            return _objects(state.shown, lines)
        case "losses":
            return _losses(state.shown, lines)
        case "events":
            return _events(list(state.events)[-lines:])
        case _:
            return _processes(state.daemon, lines)


def _objects(stream: StreamState | None, lines: int) -> RenderableType:
    objects = stream.frame.objects if stream is not None and stream.frame is not None else ()
    if not objects:
        return Text("no objects", _QUIET)
    table = _table("ID", "LABEL", "STATE", "CONFIDENCE", "SCORE", "BOX", "AREA")
    for obj in objects[: lines - 1]:
        table.add_row(*_object_row(obj))
    return table


def _object_row(obj: ObjectInfo) -> list[Text]:
    red, green, blue = color_of(obj.id)
    x, y, w, h = obj.bbox
    seen = obj.area > 0
    return [
        Text(str(obj.id), f"rgb({red},{green},{blue})"),
        _line(obj.label),
        Text(plain(obj.state), _OBJECT_STATES.get(obj.state, "")),
        _bar(obj.confidence),
        Text(f"{obj.score:.2f}"),
        Text(f"{w}x{h} at {x},{y}" if seen else "-"),
        Text(str(obj.area) if seen else "-"),
    ]


def _bar(share: float | None) -> Text:
    if share is None:
        return Text("-", _QUIET)
    full = round(max(0.0, min(1.0, share)) * _BAR)
    style = _GOOD if share >= 0.7 else _WARN if share >= 0.5 else _BAD
    return Text.assemble(("█" * full, style), ("░" * (_BAR - full), _QUIET), f" {share:.2f}")


def _losses(stream: StreamState | None, lines: int) -> RenderableType:
    status = stream.status if stream is not None else None
    if stream is None or status is None:
        return Text("...", _QUIET)
    stages = "  ".join(f"{stage} {value:.1f} ms" for stage, value in status.latency_ms.items())
    text = Text(plain(f"latency (median of a second): {stages or 'no masks'}"))
    table = _table("STAGE/REASON", "PER SECOND", "IN ALL")
    for reason, count in sorted(status.drops.items(), key=lambda item: -item[1])[: max(1, lines - 2)]:
        table.add_row(_line(reason), f"{stream.losses_per_s.get(reason, 0):.1f}", str(count))
    return Group(text, table if status.drops else Text("nothing was lost", _QUIET))


def _events(events: list[EventMessage]) -> RenderableType:
    if not events:
        return Text("no events since this began", _QUIET)
    table = _table("TIME", "STREAM", "EVENT", "")
    table.columns[3].ratio = 1
    for event in events:
        when = datetime.fromtimestamp(event.t_wall_ns / 1e9).strftime("%H:%M:%S")
        what = " ".join(str(part) for part in (event.object, event.label) if part not in (None, ""))
        where = event.region.name if event.region else ""
        detail = ", ".join(part for part in (what, where, event.detail) if part)
        table.add_row(when, _line(event.stream), _line(event.event), _line(detail))
    return table


def _processes(daemon: DaemonStatusMessage | None, lines: int) -> RenderableType:
    if daemon is None:
        return Text("...", _QUIET)
    table = _table("PROCESS", "STATE", "RESTARTS", "LOG LINES DROPPED")
    for name, word in list(daemon.processes.items())[: lines - 1]:
        restarts = daemon.restarts.get(name, 0)
        table.add_row(
            _line(name),
            Text(plain(word), _GOOD if word == "ready" else _WARN),
            Text(str(restarts), _WARN if restarts else ""),
            str(daemon.log_dropped.get(name, 0)),
        )
    return table


def _keys() -> Text:
    panes = "  ".join(f"{key} {name}" for key, name in PANES.items())
    return Text(f"q quit   ↑ ↓ stream   {panes}   tab next", _QUIET, no_wrap=True, overflow="ellipsis")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style=_QUIET, expand=True)
    for name in columns:
        table.add_column(_line(name), no_wrap=name not in _SHORTENED, overflow="ellipsis")
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(plain(text), style, no_wrap=True, overflow="ellipsis")


def _duration(seconds: float) -> str:
    minutes, _ = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"
