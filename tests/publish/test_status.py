"""Totals survive a restart of the processes that count."""

from __future__ import annotations

import time

import msgspec
import pytest

from streamseg.ipc.messages import CaptureReport, WorkerReport
from streamseg.protocol.published import RegionCounts
from streamseg.publish.status import MasksClock, RegionTotals, StreamStatus, Total
from streamseg.publish.stream_encoder import Origin
from streamseg.ring.frame_ring import FrameRing
from tests.publish.publisher_children import source_frame, tracked_frame


def test_total_continues_when_its_counter_restarts():
    total = Total()
    assert total.value == 0
    for count, value in [(3, 3), (3, 3), (5, 5), (0, 5), (2, 7), (1, 8), (4, 11)]:
        total.update(count)
        assert total.value == value


@pytest.fixture
def status():
    ring = FrameRing(policy="newest", slots=2, slot_bytes=4096)
    yield StreamStatus("cam1", "lavfi:x", ring, Origin("s", "p", "c", "nano"))
    ring.close()


def message(status):
    return status.message(0, published={}, subscribed=[])


def test_latencies_are_medians_of_the_last_second(status):
    now = time.monotonic_ns()
    for age_ms, decode_ms in [(40, 1), (40, 2), (40, 30)]:
        frame = tracked_frame("cam1", 0)
        captured = now - age_ms * 1_000_000
        frame = msgspec.structs.replace(
            frame,
            t_captured_ns=captured,
            t_decoded_ns=captured + decode_ms * 1_000_000,
            t_tracked_ns=captured + 35_000_000,
        )
        status.on_frame(frame)
    latency = message(status).latency_ms
    assert latency["decode"] == 2.0
    assert latency["track"] == 33.0
    assert latency["total"] >= 40.0
    assert message(status).fps_out == 3.0
    status._latencies = type(status._latencies)([(0, 0, 0, now - 2_000_000_000)])
    assert (message(status).latency_ms, message(status).fps_out) == ({}, 0.0)


def test_a_stream_whose_masks_come_does_not_start(status):
    assert message(status).state == "starting"
    status.on_frame(tracked_frame("cam1", 0))
    assert message(status).state == "streaming"
    status.on_capture(CaptureReport("cam1", "reconnecting", "lavfi:x", (40, 30), 1.0, 1, 0, 0, {}, "refused"))
    assert message(status).state == "reconnecting", "what the capture process says counts most"


def test_size_comes_from_the_source_and_before_that_from_frames(status):
    assert message(status).size == (0, 0)
    status.on_frame(tracked_frame("cam1", 0, size=(20, 10)))
    assert message(status).size == (20, 10)
    report = CaptureReport("cam1", "streaming", "lavfi:x", (40, 30), 1.0, 1, 0, 0, {}, "")
    status.on_capture(report)
    assert message(status).size == (40, 30)
    status.on_capture(msgspec.structs.replace(report, state="reconnecting", last_error="refused"))
    assert (message(status).state, message(status).last_error) == ("reconnecting", "refused")


def test_repeated_frames_are_counted_apart_and_go_on_when_the_worker_is_replaced(status):
    for tracked, repeated in [(3, 20), (4, 50), (1, 0), (2, 7)]:
        status.on_worker(WorkerReport("nano", "cpu", {"cam1": tracked}, {}, repeated={"cam1": repeated, "other": 9}))
    assert (message(status).tracked, message(status).repeated) == (6, 57)


def test_own_drops_are_counted_by_reason(status):
    assert [status.count_drop("image/slow") for _ in range(3)] == [1, 2, 3]
    assert message(status).drops == {"image/slow": 3}


def test_counts_of_zones_go_on_when_the_worker_is_replaced():
    totals = RegionTotals()
    before = RegionCounts(inside={"door": 1}, entered={"door": 3}, left={"door": 2}, forward={"gate": 4}, backward={})
    assert totals.update(before) == before
    after = RegionCounts(inside={"door": 0}, entered={"door": 1}, left={"door": 1}, forward={"gate": 0}, backward={})
    assert totals.update(after) == RegionCounts(
        inside={"door": 0}, entered={"door": 4}, left={"door": 3}, forward={"gate": 4}, backward={}
    )


def test_frames_without_masks_are_late_after_three_seconds_or_three_slow_steps():
    now = [100.0]
    ring = FrameRing(policy="newest", slots=2, slot_bytes=1 << 20)
    clock = MasksClock(ring, lambda: now[0])
    assert clock.late_s(streaming=True) is None  # nothing was captured
    ring.writer().write(source_frame(9), 1.0)
    for waited, step_s, late in ((0.0, 0.1, False), (2.9, 0.1, False), (3.5, 0.1, True), (3.5, 2.0, False)):
        now[0] = 100.0 + waited
        clock.on_worker(step_s, streams=1)
        assert (clock.late_s(streaming=True) is not None) == late
    clock.on_masks(0)
    now[0] += 60
    assert clock.late_s(streaming=True) is None
    ring.close()
