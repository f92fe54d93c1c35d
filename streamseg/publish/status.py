"""Combines the reports of all processes into the status of a stream."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from streamseg.ipc.messages import CaptureReport, TrackedFrame, WorkerReport
from streamseg.protocol.published import FindCounts, Overload, PrompterCounts, RegionCounts, Status
from streamseg.publish.stream_encoder import Origin
from streamseg.ring.frame_ring import FrameRing

_WINDOW_NS: Final = 1_000_000_000
_MAX_IN_WINDOW: Final = 1000
_MASKS_LATE_S: Final = 3.0
_MASKS_LATE_STEPS: Final = 3.0
"""Masks are late after this time plus, per stream, this many times the worker's slowest recent step."""


class Total:
    """Sums a counter that restarts at 0 when its process is replaced."""

    def __init__(self) -> None:
        self._finished = 0
        self._last = 0

    def update(self, count: int) -> None:
        """Take the counter's current value."""
        if count < self._last:
            self._finished += self._last
        self._last = count

    @property
    def value(self) -> int:
        """The sum so far."""
        return self._finished + self._last


class RegionTotals:
    """Counts of zones and lines over all workers of a session."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Total] = {}

    def update(self, counts: RegionCounts) -> RegionCounts:
        """Take the worker's counts, and return the session's."""
        kinds = {"entered": counts.entered, "left": counts.left, "forward": counts.forward, "backward": counts.backward}
        sums = {kind: {name: self._sum(kind, name, count) for name, count in kinds[kind].items()} for kind in kinds}
        return RegionCounts(inside=counts.inside, **sums)

    def _sum(self, kind: str, name: str, count: int) -> int:
        total = self._totals.setdefault((kind, name), Total())
        total.update(count)
        return total.value


class MasksClock:
    """Detects that a stream has frames but no masks.

    Args:
        ring: Ring of the stream.
        clock: Returns seconds, for tests.
    """

    def __init__(self, ring: FrameRing, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring = ring
        self._clock = clock
        self._next_frame = 0
        self._waiting_since: float | None = None
        self._late_s = _MASKS_LATE_S

    def on_worker(self, step_s: float, streams: int) -> None:
        """Take the worker's slowest recent step, so that a slow model does not count as late."""
        self._late_s = max(_MASKS_LATE_S, _MASKS_LATE_STEPS * step_s * streams)

    def on_masks(self, frame_id: int) -> None:
        """Note that a frame's masks were published."""
        self._next_frame, self._waiting_since = frame_id + 1, None

    def late_s(self, *, streaming: bool) -> float | None:
        """Return for how many seconds there were frames without masks; None if there are masks. Called each second.

        Args:
            streaming: Whether the source delivers frames that should be tracked.
        """
        if not streaming or self._ring.counters().frames <= self._next_frame:
            self._waiting_since = None
            return None
        now = self._clock()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        waited_s = now - self._waiting_since
        return waited_s if waited_s > self._late_s else None


class StreamStatus:
    """Gathers the status of one stream.

    Args:
        stream: Id of the stream.
        source: Redacted address of the source, until the capture process reports it.
        ring: Ring of the stream.
        origin: Identity of the publisher.
    """

    def __init__(self, stream: str, source: str, ring: FrameRing, origin: Origin) -> None:
        self._stream = stream
        self._source = source
        self._ring = ring
        self._origin = origin
        self._capture: CaptureReport | None = None
        self._tracked = Total()
        self._repeated = Total()
        self._reconnects = Total()
        self._drops: dict[str, Total] = {}
        self._own_drops: Counter[str] = Counter()
        self._objects = 0
        self._region_totals = RegionTotals()
        self._regions: RegionCounts | None = None
        self._find: FindCounts | None = None
        self._prompters: dict[str, PrompterCounts] = {}
        self._paused = False
        self._size = (0, 0)
        self._masks = MasksClock(ring)
        self._overload: Overload | None = None
        self._latencies: deque[tuple[int, int, int, int]] = deque(maxlen=_MAX_IN_WINDOW)

    def on_capture(self, report: CaptureReport) -> None:
        """Take a report of the capture process."""
        self._capture = report
        self._reconnects.update(report.reconnects)
        self._update_drops(report.drops)

    def on_worker(self, report: WorkerReport) -> None:
        """Take a report of the worker."""
        self._tracked.update(report.tracked.get(self._stream, 0))
        self._repeated.update(report.repeated.get(self._stream, 0))
        self._paused = self._stream in report.paused
        self._update_drops(report.drops.get(self._stream, {}))
        self._masks.on_worker(report.step_s, len(report.tracked))
        self._overload = report.overload.get(self._stream)
        self._find = report.find.get(self._stream)
        self._prompters = report.prompters.get(self._stream, {})
        counts = report.regions.get(self._stream)
        self._regions = None if counts is None else self._region_totals.update(counts)

    def on_frame(self, frame: TrackedFrame) -> None:
        """Count a frame whose masks were just published."""
        self._paused = frame.paused
        if not frame.failed:
            self._masks.on_masks(frame.frame_id)
        if frame.paused:
            self._objects = 0
            return
        self._objects = len(frame.objects)
        self._size = frame.size
        self._latencies.append((frame.t_captured_ns, frame.t_decoded_ns, frame.t_tracked_ns, time.monotonic_ns()))

    def count_drop(self, reason: str) -> int:
        """Count a message that the publisher itself dropped, by ``stage/reason``; return the total."""
        self._own_drops[reason] += 1
        return self._own_drops[reason]

    def _update_drops(self, drops: Mapping[str, int]) -> None:
        for reason, count in drops.items():
            self._drops.setdefault(reason, Total()).update(count)

    def message(self, seq: int, *, published: Mapping[str, int], subscribed: list[str]) -> Status:
        """Return the current status."""
        ring = self._ring.counters()
        drops: Counter[str] = Counter(self._own_drops)
        drops.update({reason: total.value for reason, total in self._drops.items()})
        drops.update(
            {"ring/superseded": ring.superseded, "ring/no_slot": ring.no_slot, "ring/abandoned": ring.abandoned}
        )
        window = self._recent()
        capture = self._capture
        late_s = self._masks.late_s(streaming=capture is not None and capture.state == "streaming" and not self._paused)
        return Status(
            stream=self._stream,
            session=self._origin.session,
            publisher=self._origin.publisher,
            seq=seq,
            t_wall_ns=str(time.time_ns()),
            # A publisher that has just started knows the frames' masks before the first report.
            state=capture.state if capture else "streaming" if window else "starting",
            source=capture.source if capture else self._source,
            size=capture.size if capture and any(capture.size) else self._size,
            fps_in=round(capture.fps, 2) if capture else 0.0,
            fps_out=float(len(window)),
            frames=ring.frames,
            tracked=self._tracked.value,
            drops={reason: count for reason, count in sorted(drops.items()) if count},
            reconnects=self._reconnects.value,
            epoch=ring.epoch,
            objects=self._objects,
            latency_ms=_latency_ms(window),
            published=dict(published),
            subscribed=subscribed,
            last_error=capture.last_error if capture else "",
            paused=self._paused,
            repeated=self._repeated.value,
            regions=msgspec.UNSET if self._regions is None else self._regions,
            overload=msgspec.UNSET if self._overload is None else self._overload,
            no_masks_s=msgspec.UNSET if late_s is None else round(late_s, 1),
            find=msgspec.UNSET if self._find is None else self._find,
            prompters=self._prompters or msgspec.UNSET,
        )

    def _recent(self) -> list[tuple[int, int, int, int]]:
        """Return the stamps (captured, decoded, tracked, published) of the last second's frames."""
        oldest = time.monotonic_ns() - _WINDOW_NS
        while self._latencies and self._latencies[0][3] < oldest:
            self._latencies.popleft()
        return list(self._latencies)


def _latency_ms(window: list[tuple[int, int, int, int]]) -> dict[str, float]:
    if not window:
        return {}
    captured, decoded, tracked, published = zip(*window, strict=True)
    spans = {
        "decode": (captured, decoded),
        "track": (decoded, tracked),
        "publish": (tracked, published),
        "total": (captured, published),
    }
    return {
        stage: round(statistics.median(end - begin for begin, end in zip(*span, strict=True)) / 1e6, 3)
        for stage, span in spans.items()
    }
