"""Latency of frames by stream and stage, as a Prometheus histogram."""

from __future__ import annotations

from typing import Final

from prometheus_client import Histogram

from streamseg.client import ObjectsFrame

STAGES: Final = ("decode", "track", "publish", "total")
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LatencyHistogram:
    """Histogram of the durations of each stage. The set of labels is bounded by the daemon's streams.

    Attributes:
        collector: Collector to register with a Prometheus registry.
    """

    def __init__(self) -> None:
        self.collector = Histogram(
            "streamseg_latency_seconds",
            "Time from capture to publication by stage, for frames received by the web process.",
            ("stream", "stage"),
            registry=None,
            buckets=_BUCKETS_S,
        )

    def add_stream(self, stream: str) -> None:
        """Export a stream, with counts of zero."""
        for stage in STAGES:
            self.collector.labels(stream, stage)

    def remove_stream(self, stream: str) -> None:
        """Stop exporting a stream."""
        for stage in STAGES:
            self.collector.remove(stream, stage)

    def observe(self, frame: ObjectsFrame) -> None:
        """Count the stages of a frame."""
        stamps = (frame.t_captured_ns, frame.t_decoded_ns, frame.t_tracked_ns, frame.t_published_ns)
        for stage, begin, end in zip(STAGES, (*stamps[:3], stamps[0]), (*stamps[1:], stamps[3]), strict=True):
            self.collector.labels(frame.stream, stage).observe((end - begin) / 1e9)
