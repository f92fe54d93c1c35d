"""Metrics in the Prometheus text format, made from the newest status messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streamseg.client import DaemonStatusMessage, StatusMessage
from streamseg.web.client_limit import ClientLimit
from streamseg.web.hub import Hub

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Family = CounterMetricFamily | GaugeMetricFamily

_STATES: Final = ("starting", "connecting", "streaming", "reconnecting", "ended", "failed")
_STREAM_COUNTERS: Final = {
    "frames_captured": ("Frames captured from the source.", "frames"),
    "frames_tracked": ("Frames whose masks were computed.", "tracked"),
    "frames_repeated": ("Frames identical to the last tracked one, which got its masks.", "repeated"),
    "reconnects": ("Times the source was reopened.", "reconnects"),
}
_FIND_COUNTERS: Final = {
    "find_looks": ("Searches of the whole picture for objects.", "looks"),
    "find_found": ("Objects that were found.", "found"),
    "find_retired": ("Found objects that are gone.", "retired"),
    "find_expired": ("Searches whose frame was no longer held.", "expired"),
    "find_failed": ("Searches that ended with an error.", "failed"),
}
_PROMPTER_COUNTERS: Final = {
    "prompter_looks": ("Pictures that a prompter has looked at.", "looks"),
    "prompter_proposals": ("Valid proposals of a prompter.", "proposals"),
    "prompter_invalid": ("Proposals of a prompter that were refused.", "invalid"),
    "prompter_found": ("Objects that were found by a prompter.", "found"),
    "prompter_expired": ("Pictures whose frame was no longer held when the proposals came.", "expired"),
    "prompter_failed": ("Calls of a prompter that raised an exception.", "failed"),
    "prompter_errors": ("Times that proposals could not be used because of an error of the tracker.", "errors"),
}
_STREAM_GAUGES: Final = {
    "frames_in_per_second": ("Frames captured in the last second.", "fps_in"),
    "frames_out_per_second": ("Frames with masks in the last second.", "fps_out"),
    "objects": ("Objects on the newest tracked frame.", "objects"),
}


class Metrics:
    """The metrics of one application, in a separate registry.

    Args:
        hub: State of the daemon.
        clients: The viewers.
    """

    def __init__(self, hub: Hub, clients: ClientLimit) -> None:
        disable_created_metrics()  # process-wide: prometheus_client has no setting for a single registry
        self._registry = CollectorRegistry()
        self._registry.register(_HubCollector(hub, clients))
        self._registry.register(hub.latency.collector)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)


class _HubCollector(Collector):
    """Reads the metrics from the hub when Prometheus asks, so that removed streams leave no series behind.

    Args:
        hub: State of the daemon.
        clients: The viewers.
    """

    def __init__(self, hub: Hub, clients: ClientLimit) -> None:
        self._hub = hub
        self._clients = clients

    def collect(self) -> Iterator[Metric]:
        """Return the current metrics."""
        yield _gauge(
            "up",
            "Whether publisher and worker are ready, and masks come of all frames that do.",
            not self._hub.missing(),
        )
        yield _gauge("watching", "Browsers and programs that watch over HTTP.", self._clients.active)
        if self._hub.daemon is not None:
            yield from _daemon_metrics(self._hub.daemon)
        yield from _stream_metrics([view.status for view in self._hub.streams.values() if view.status is not None])

    def describe(self) -> list[Metric]:
        """Return nothing: names are unique, and there is no status yet at registration."""
        return []


def _daemon_metrics(daemon: DaemonStatusMessage) -> Iterator[Metric]:
    info = GaugeMetricFamily("streamseg_info", "Version, model and device.", labels=("version", "model", "device"))
    info.add_metric((daemon.version, daemon.model, daemon.device), 1)
    yield info
    yield _gauge("uptime_seconds", "Uptime of the daemon.", daemon.uptime_s)
    yield _gauge("device_memory_bytes", "GPU memory held by the worker; 0 on a CPU.", daemon.device_memory_bytes)
    yield CounterMetricFamily(
        "streamseg_recompiles",
        "Graphs compiled after the warm-up, and times that all graphs were recorded again.",
        value=daemon.recompiles,
    )
    if daemon.recording_stopped is not None:
        yield _gauge("recording", "Whether the recorder records; not there without one.", not daemon.recording_stopped)
    restarts = CounterMetricFamily(
        "streamseg_process_restarts", "Restarts of a process in this session.", labels=("process",)
    )
    for process, count in daemon.restarts.items():
        restarts.add_metric((process,), count)
    yield restarts
    dropped = CounterMetricFamily(
        "streamseg_log_lines_dropped", "Lines of a process's log that nothing read in time.", labels=("process",)
    )
    for process, count in daemon.log_dropped.items():
        dropped.add_metric((process,), count)
    yield dropped
    ready = GaugeMetricFamily("streamseg_process_ready", "Whether a process is ready.", labels=("process",))
    for process, state in daemon.processes.items():
        ready.add_metric((process,), state == "ready")
    yield ready


def _stream_metrics(statuses: list[StatusMessage]) -> Iterator[Metric]:
    rows = [((status.stream,), status) for status in statuses]
    yield from _families(CounterMetricFamily, _STREAM_COUNTERS, ("stream",), rows)
    yield from _families(GaugeMetricFamily, _STREAM_GAUGES, ("stream",), rows)
    drops = CounterMetricFamily("streamseg_drops", "Losses by stage and reason.", labels=("stream", "stage", "reason"))
    states = GaugeMetricFamily(
        "streamseg_source_state", "1 for the state that the source is in.", labels=("stream", "state")
    )
    late = GaugeMetricFamily(
        "streamseg_no_masks_seconds", "Seconds since frames come, but no masks of them; 0: they do.", labels=("stream",)
    )
    overload = GaugeMetricFamily(
        "streamseg_overload_dropped_ratio",
        "Share of frames dropped while overloaded; 0: not overloaded.",
        labels=("stream",),
    )
    suspended = GaugeMetricFamily(
        "streamseg_objects_suspended", "Objects that are not tracked because of overload.", labels=("stream",)
    )
    reduced = GaugeMetricFamily(
        "streamseg_input_reduced", "1 while the model's input is smaller because of overload.", labels=("stream",)
    )
    for status in statuses:
        reduced.add_metric((status.stream,), bool(status.overload and status.overload.image_size))
        overload.add_metric((status.stream,), status.overload.dropped if status.overload else 0.0)
        suspended.add_metric((status.stream,), len(status.overload.suspended) if status.overload else 0)
        late.add_metric((status.stream,), status.no_masks_s or 0.0)
        for drop, count in status.drops.items():
            stage, _, reason = drop.partition("/")
            drops.add_metric((status.stream, stage, reason), count)
        for state in _STATES:
            states.add_metric((status.stream, state), status.state == state)
    yield late
    yield overload
    yield suspended
    yield reduced
    yield drops
    yield states
    yield from _region_metrics(statuses)
    yield from _find_metrics(statuses)
    yield from _prompter_metrics(statuses)


def _region_metrics(statuses: list[StatusMessage]) -> Iterator[Metric]:
    inside = GaugeMetricFamily("streamseg_zone_objects", "Objects inside a zone.", labels=("stream", "zone"))
    entered = CounterMetricFamily("streamseg_zone_entered", "Objects that entered a zone.", labels=("stream", "zone"))
    left = CounterMetricFamily("streamseg_zone_left", "Objects that left a zone.", labels=("stream", "zone"))
    crossed = CounterMetricFamily(
        "streamseg_line_crossed", "Objects that crossed a line.", labels=("stream", "line", "direction")
    )
    watched = [status for status in statuses if status.regions is not None]
    for status in watched:
        assert status.regions is not None
        for family, counts in (
            (inside, status.regions.inside),
            (entered, status.regions.entered),
            (left, status.regions.left),
        ):
            for zone, count in counts.items():
                family.add_metric((status.stream, zone), count)
        for direction, counts in (("forward", status.regions.forward), ("backward", status.regions.backward)):
            for line, count in counts.items():
                crossed.add_metric((status.stream, line, direction), count)
    if watched:
        yield from (inside, entered, left, crossed)


def _find_metrics(statuses: list[StatusMessage]) -> Iterator[Metric]:
    searching = [((status.stream,), status.find) for status in statuses if status.find is not None]
    if not searching:
        return
    yield from _families(CounterMetricFamily, _FIND_COUNTERS, ("stream",), searching)
    delay = GaugeMetricFamily(
        "streamseg_find_longest_delay_seconds", "Longest time that a part of a search took.", labels=("stream",)
    )
    for which, counts in searching:
        delay.add_metric(which, counts.longest_delay_ms / 1000)
    yield delay


def _prompter_metrics(statuses: list[StatusMessage]) -> Iterator[Metric]:
    counted = [
        ((status.stream, name), counts) for status in statuses for name, counts in (status.prompters or {}).items()
    ]
    if not counted:
        return
    labels = ("stream", "prompter")
    yield from _families(CounterMetricFamily, _PROMPTER_COUNTERS, labels, counted)
    for metric, documentation, field in (
        ("call", "Time that the last call of a prompter took.", "call_ms"),
        ("longest_delay", "Longest time that a part of the work on proposals took.", "longest_delay_ms"),
    ):
        gauge = GaugeMetricFamily(f"streamseg_prompter_{metric}_seconds", documentation, labels=labels)
        for which, counts in counted:
            gauge.add_metric(which, getattr(counts, field) / 1000)
        yield gauge


def _families(
    make: Callable[..., _Family],
    table: Mapping[str, tuple[str, str]],
    labels: tuple[str, ...],
    rows: Sequence[tuple[tuple[str, ...], object]],
) -> Iterator[_Family]:
    """Yield the metrics of a table. Each row gives one series: its labels, and the object with the values."""
    for name, (documentation, field) in table.items():
        family = make(f"streamseg_{name}", documentation, labels=labels)
        for which, values in rows:
            family.add_metric(which, getattr(values, field))
        yield family


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"streamseg_{name}", documentation, value=float(value))
