"""Metrics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from streamseg.client import StatusMessage
from streamseg.web.histogram import BOUNDS_S, Histogram
from streamseg.web.hub import Hub

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STATES: Final = ("starting", "connecting", "streaming", "reconnecting", "ended", "failed")

Sample = tuple[Mapping[str, str], float]


def metrics_text(hub: Hub, *, watching: int) -> str:
    """Return all metrics.

    Args:
        hub: What the daemon says.
        watching: Browsers and programs that watch now.
    """
    statuses = [view.status for view in hub.streams.values() if view.status is not None]
    lines = [*_of_daemon(hub, watching), *_of_streams(statuses), *_latency(hub)]
    return "\n".join(lines) + "\n"


def _of_daemon(hub: Hub, watching: int) -> Iterator[str]:
    yield from _metric("up", "gauge", "Whether publisher and worker are ready.", [({}, float(not hub.missing()))])
    yield from _metric("watching", "gauge", "Browsers and programs that watch by HTTP.", [({}, watching)])
    daemon = hub.daemon
    if daemon is None:
        return
    info = {"version": daemon.version, "model": daemon.model, "device": daemon.device}
    yield from _metric("info", "gauge", "What runs.", [(info, 1)])
    yield from _metric("uptime_seconds", "gauge", "Of the daemon.", [({}, daemon.uptime_s)])
    memory: list[Sample] = [({}, float(daemon.device_memory_bytes))]
    yield from _metric("device_memory_bytes", "gauge", "GPU memory that the worker holds; 0 on a CPU.", memory)
    recompiles: list[Sample] = [({}, float(daemon.recompiles))]
    yield from _metric(
        "recompiles_total",
        "counter",
        "Graphs compiled after the warm-up, and times that all were recorded anew.",
        recompiles,
    )
    restarts = [({"process": name}, float(count)) for name, count in daemon.restarts.items()]
    yield from _metric("process_restarts_total", "counter", "Restarts of a process in this session.", restarts)
    ready = [({"process": name}, float(state == "ready")) for name, state in daemon.processes.items()]
    yield from _metric("process_ready", "gauge", "Whether a process is ready.", ready)


def _of_streams(statuses: list[StatusMessage]) -> Iterator[str]:
    def each(name: str) -> list[Sample]:
        return [({"stream": status.stream}, getattr(status, name)) for status in statuses]

    yield from _metric("frames_captured_total", "counter", "Frames that came from the source.", each("frames"))
    yield from _metric("frames_tracked_total", "counter", "Frames whose masks were computed.", each("tracked"))
    repeated = "Frames that showed the same as the last tracked one, whose masks they got."
    yield from _metric("frames_repeated_total", "counter", repeated, each("repeated"))
    yield from _metric("frames_in_per_second", "gauge", "Frames captured in the last second.", each("fps_in"))
    yield from _metric("frames_out_per_second", "gauge", "Frames with masks in the last second.", each("fps_out"))
    yield from _metric("reconnects_total", "counter", "Times that the source was opened again.", each("reconnects"))
    yield from _metric("objects", "gauge", "Objects on the newest tracked frame.", each("objects"))
    drops: list[Sample] = []
    for status in statuses:
        for name, count in status.drops.items():
            stage, _, reason = name.partition("/")
            drops.append(({"stream": status.stream, "stage": stage, "reason": reason}, count))
    yield from _metric("drops_total", "counter", "Losses by stage and reason.", drops)
    states = [
        ({"stream": status.stream, "state": state}, float(status.state == state))
        for status in statuses
        for state in _STATES
    ]
    yield from _metric("source_state", "gauge", "1 for the state that the source is in.", states)


def _latency(hub: Hub) -> Iterator[str]:
    name = "streamseg_latency_seconds"
    yield f"# HELP {name} From capture to publication, by stage; of frames seen by this interface."
    yield f"# TYPE {name} histogram"
    for stream, view in hub.streams.items():
        for stage, histogram in view.latency.items():
            yield from _histogram(name, {"stream": stream, "stage": stage}, histogram)


def _histogram(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    running = list(accumulate(histogram.counts))
    for bound, count in zip((*map(repr, BOUNDS_S), "+Inf"), running, strict=True):
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {count}"
    yield f"{name}_sum{_labels(labels)} {histogram.total_s!r}"
    yield f"{name}_count{_labels(labels)} {running[-1]}"


def _metric(name: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP streamseg_{name} {about}"
    yield f"# TYPE streamseg_{name} {kind}"
    for labels, value in samples:
        yield f"streamseg_{name}{_labels(labels)} {value!r}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
