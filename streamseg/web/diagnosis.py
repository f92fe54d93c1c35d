"""The health of a stream: what is wrong and what to do in one sentence, and the figures behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from streamseg.client import DaemonStatusMessage, StatusMessage

_SLOW_SHARE: Final = 0.6
"""Tracking is too slow if less than this share of the captured frames gets masks."""


_CAUSES: Final = {
    "superseded": "a newer one was ready",
    "slow": "a newer one was ready",
    "no_slot": "all buffers were in use",
    "abandoned": "the worker restarted",
    "queue_full": "the publisher was busy",
    "invalid": "a mask could not be encoded",
    "not_shared": "the encoder was busy",
    "error": "the encoder failed",
}
"""Readable causes of lost frames and pictures, for names that are not clear."""

Level = Literal["", "warn", "bad"]


class Diagnosis(msgspec.Struct, frozen=True):
    """What is wrong and what to do.

    Attributes:
        text: One sentence.
        level: How bad it is; empty if all is well.
    """

    text: str
    level: Level = ""


class Health(Diagnosis, frozen=True):
    """The same, with the figures behind it.

    Attributes:
        figures: Name, value and level.
    """

    figures: tuple[tuple[str, str, Level], ...] = ()


def health_of(status: StatusMessage, daemon: DaemonStatusMessage | None) -> Health:
    """Return the health of a stream."""
    diagnosis = diagnose(status, daemon)
    figures = (*_stream_figures(status), *(() if daemon is None else _daemon_figures(daemon)), *_losses(status))
    return Health(diagnosis.text, diagnosis.level, figures)


def diagnose(status: StatusMessage, daemon: DaemonStatusMessage | None) -> Diagnosis:
    """Return what is wrong with a stream, or that all is well."""
    return (
        _source_problem(status)
        or _process_problem(daemon)
        or _tracking_problem(status)
        or Diagnosis(f"All good: {status.fps_out:.0f} frames/s.")
    )


def _source_problem(status: StatusMessage) -> Diagnosis | None:
    error = f": {status.last_error.removesuffix('.')}" if status.last_error else ""
    match status.state:
        case "streaming":
            return None
        case "failed":
            return Diagnosis(f"The source failed{error}. Check its address.", "bad")
        case "reconnecting":
            return Diagnosis(f"The source is lost{error}. It is reconnected by itself; check power and network.", "bad")
        case "connecting" if error:
            return Diagnosis(f"The source does not open{error}. It is tried again by itself.", "bad")
        case "ended":
            return Diagnosis("The source has ended.", "warn")
        case other:
            return Diagnosis(f"The source is {other}.", "warn")


def _process_problem(daemon: DaemonStatusMessage | None) -> Diagnosis | None:
    for name, state in ({} if daemon is None else daemon.processes).items():
        if state != "ready":
            return Diagnosis(f"The {name} process is {state}. It recovers by itself.", "warn")
    return None


def _tracking_problem(status: StatusMessage) -> Diagnosis | None:
    if status.no_masks_s:
        text = f"No masks for {status.no_masks_s:.0f} s although frames come."
        return Diagnosis(f"{text} A worker that hangs is restarted by itself.", "bad")
    if status.paused:
        return Diagnosis("Tracking is paused: press Resume.", "warn")
    if _is_slow(status):
        got = f"Only {status.fps_out:.0f} of {status.fps_in:.0f} frames/s get masks"
        return Diagnosis(f"{got}: use a smaller model or fewer objects.", "warn")
    return None


def _is_slow(status: StatusMessage) -> bool:
    """Return whether the worker does not keep up. Rates alone do not say so: they also fall when a process dies."""
    return status.overload is not None and status.fps_out < status.fps_in * _SLOW_SHARE


def _stream_figures(status: StatusMessage) -> Iterator[tuple[str, str, Level]]:
    bad_states: dict[str, Level] = {"streaming": "", "reconnecting": "bad", "failed": "bad"}
    yield "source", status.state, bad_states.get(status.state, "warn")
    yield "frames/s in", f"{status.fps_in:.1f}", ""
    yield "frames/s out", f"{status.fps_out:.1f}", "warn" if _is_slow(status) else ""
    for stage in ("decode", "track", "publish"):
        value = status.latency_ms.get(stage)
        yield f"… {stage}", "–" if value is None else f"{value:.{1 if value < 10 else 0}f} ms", ""
    yield "frames repeated", str(status.repeated), ""
    if (find := status.find) is not None:
        yield "find: looks", str(find.looks), ""
        yield "find: seen, not yet sure", str(find.tentative), ""
        yield "find: computing time of a look", f"{find.look_ms / 1000:.1f} s" if find.looks else "–", ""
    yield "picture", " × ".join(map(str, status.size)) if status.size[0] else "–", ""
    yield "reconnects", str(status.reconnects), "warn" if status.reconnects else ""
    yield "last error", status.last_error or "none", "bad" if status.last_error else ""


def _daemon_figures(daemon: DaemonStatusMessage) -> Iterator[tuple[str, str, Level]]:
    restarts = sum(daemon.restarts.values())
    yield "process restarts", str(restarts), "warn" if restarts else ""
    yield "running for", _duration(daemon.uptime_s), ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s"
    return f"{hours} h {minutes_left} min" if hours < 48 else f"{hours // 24} days"


def _losses(status: StatusMessage) -> Iterator[tuple[str, str, Level]]:
    for name, count in status.drops.items():
        stage, _, cause = name.partition("/")
        # A frame whose picture was lost still had its masks published.
        what = "pictures" if stage == "image" else "frames"
        yield f"{what} lost: {_CAUSES.get(cause, cause.replace('_', ' '))}", str(count), ""
