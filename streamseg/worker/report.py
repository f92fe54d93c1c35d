"""The worker's report to the publisher: what it counted, for the status of the streams and the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from streamseg.ipc.messages import WorkerReport
from streamseg.tracker.types import Tracker
from streamseg.worker.tracked_stream import TrackedStream

_Value = TypeVar("_Value")


def worker_report(
    model: str,
    tracker: Tracker,
    streams: Mapping[str, TrackedStream],
    *,
    drops: Mapping[str, Mapping[str, int]],
    step_s: float,
) -> WorkerReport:
    """Return the report.

    Args:
        model: Name of the model.
        tracker: The tracker.
        streams: Stream id -> stream.
        drops: Stream id -> reason -> count, without those that are counted by the streams themselves.
        step_s: The slowest step of the last minutes.
    """
    return WorkerReport(
        model=model,
        device=tracker.device,
        tracked={stream: tracked.tracked for stream, tracked in streams.items()},
        drops={
            stream: _present({"track/failed": streams[stream].failed, **counts}) for stream, counts in drops.items()
        },
        device_memory_bytes=tracker.device_memory_bytes,
        recompiles=tracker.recompiles,
        repeated={stream: tracked.repeated for stream, tracked in streams.items()},
        regions=_those_with(streams, TrackedStream.region_counts),
        find=_those_with(streams, lambda tracked: tracked.finder.counts()),
        prompters={
            stream: {name: finder.counts() for name, finder in tracked.prompters.items()}
            for stream, tracked in streams.items()
            if tracked.prompters
        },
        engine=tracker.engine,
        step_s=step_s,
        overload=_those_with(streams, lambda tracked: tracked.overload.published()),
        paused=[stream for stream, tracked in streams.items() if tracked.paused],
    )


def progress(streams: Mapping[str, TrackedStream], frames_per_s: float) -> str:
    """Return the number of objects and the rate, for the service manager's status line."""
    objects = sum(len(stream.objects.table.objects) for stream in streams.values())
    return f"{objects} object{'' if objects == 1 else 's'}, {max(frames_per_s, 0.0):.0f} frames/s"


def _those_with(
    streams: Mapping[str, TrackedStream], value_of: Callable[[TrackedStream], _Value | None]
) -> dict[str, _Value]:
    """Return the value of each stream that has one."""
    values = {stream: value_of(tracked) for stream, tracked in streams.items()}
    return {stream: value for stream, value in values.items() if value is not None}


def _present(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
