"""The worker's reports: progress to the supervisor, counts to the publisher for the published status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from streamseg.ipc.messages import WorkerReport
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.tracker.types import Tracker
from streamseg.worker.step_clock import StepClock
from streamseg.worker.tracked_stream import TrackedStream

log = logging.getLogger(__name__)

_INTERVAL_NS: Final = 1_000_000_000

_Value = TypeVar("_Value")


class WorkerReporter:
    """Sends the worker's reports, one a second. Used by the worker's thread.

    Args:
        model: Name of the model.
        tracker: The tracker.
        link: Link to the supervisor.
        publisher: Socket to the publisher.
        steps: Measures the worker's steps.
    """

    def __init__(
        self, model: str, tracker: Tracker, link: ChildLink, publisher: PublisherSocket, steps: StepClock
    ) -> None:
        self._model, self._tracker = model, tracker
        self._link, self._publisher, self._steps = link, publisher, steps
        self._next_ns = 0
        self._frames_reported = 0

    def report(self, streams: Mapping[str, TrackedStream], drops_of: Callable[[str], Mapping[str, int]]) -> None:
        """Send a report if the last one was a second ago.

        Args:
            streams: Stream id -> stream.
            drops_of: Returns the drops of a stream that it does not count itself: reason -> count.
        """
        now_ns = time.monotonic_ns()
        if now_ns < self._next_ns:
            return
        elapsed_s = (now_ns - self._next_ns + _INTERVAL_NS) / 1e9
        self._next_ns = now_ns + _INTERVAL_NS
        text = _progress(streams, self._frames_per_s(streams, elapsed_s))
        self._link.send(Report("progress", text, step_s=self._steps.slowest_s))
        self._publisher.flush()
        drops = {stream: drops_of(stream) for stream in streams}
        self._publisher.try_send(
            _worker_report(self._model, self._tracker, streams, drops=drops, step_s=self._steps.slowest_s)
        )

    def _frames_per_s(self, streams: Mapping[str, TrackedStream], elapsed_s: float) -> float:
        frames = sum(stream.tracked + stream.repeated for stream in streams.values())
        rate, self._frames_reported = (frames - self._frames_reported) / elapsed_s, frames
        return rate


def preparation_reporter(link: ChildLink, steps: StepClock) -> Callable[[str, float], None]:
    """Return a function that tells the supervisor about long preparation of the model, at the start and later."""

    def report(what: str, share: float) -> None:
        steps.lap()
        log.info("preparing the model: %s (%.0f %%)", what, 100 * share)
        link.send(Report("progress", f"preparing the model: {what} ({100 * share:.0f} %)"))

    return report


def _worker_report(
    model: str,
    tracker: Tracker,
    streams: Mapping[str, TrackedStream],
    *,
    drops: Mapping[str, Mapping[str, int]],
    step_s: float,
) -> WorkerReport:
    """Return the publisher's report.

    Args:
        model: Name of the model.
        tracker: The tracker.
        streams: Stream id -> stream.
        drops: Stream id -> reason -> count, without drops that the streams count themselves.
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


def _progress(streams: Mapping[str, TrackedStream], frames_per_s: float) -> str:
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
