"""The exported metrics, compared with the text that streamseg exported before it used prometheus_client."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streamseg.client import DaemonStatusMessage, ObjectsFrame, StatusMessage
from streamseg.protocol.published import FindCounts, PrompterCounts
from streamseg.web.client_limit import ClientLimit
from streamseg.web.hub import Hub
from streamseg.web.metrics import Metrics
from tests.web.pairs import FRAME_FIELDS

FOLDER = Path(__file__).parent
MS = 1_000_000

HEADER: dict[str, Any] = {"session": "0" * 8, "publisher": "1" * 8, "seq": 1, "t_wall_ns": 1}
DAEMON = DaemonStatusMessage(
    stream="_daemon",
    **HEADER,
    clock="c",
    version="0.1",
    model='a "quoted" \\ name',
    device="cuda:0",
    uptime_s=12.5,
    streams=["cam", "yard", "new"],
    processes={"publisher": "ready", "worker": "ready", "capture/cam": "starting"},
    restarts={"worker": 2, "capture/cam": 0},
    device_memory_bytes=123456789,
    recompiles=3,
    log_dropped={"supervisor": 0, "worker": 17},
)
CAM = StatusMessage(
    stream="cam",
    **HEADER,
    state="streaming",
    source="s",
    size=(64, 48),
    fps_in=29.97,
    fps_out=15.5,
    frames=1000,
    tracked=900,
    drops={"ring/superseded": 7, "image/slow": 2},
    reconnects=1,
    epoch=1,
    objects=4,
    latency_ms={},
    published={},
    subscribed=[],
    last_error="",
    repeated=50,
)
YARD = dataclasses.replace(
    CAM,
    stream="yard",
    state="reconnecting",
    drops={},
    frames=0,
    tracked=0,
    repeated=0,
    fps_in=0.0,
    fps_out=0.0,
    objects=0,
    reconnects=12,
)


def objects_frame(captured_ms: int, decoded_ms: int, tracked_ms: int, published_ms: int) -> ObjectsFrame:
    stamps = {
        "t_captured_ns": captured_ms * MS,
        "t_decoded_ns": decoded_ms * MS,
        "t_tracked_ns": tracked_ms * MS,
        "t_published_ns": published_ms * MS,
    }
    return ObjectsFrame(**{**FRAME_FIELDS, **stamps, "seq": 1, "frame": 1, "pts": 1, "t_wall_ns": 1}, objects=())


def hub_with(*messages) -> Hub:
    hub = Hub("ipc:///nowhere")
    for message in messages:
        hub.on_message(message)
    return hub


def families(text: str) -> dict[str, tuple[str, dict[Any, float]]]:
    """Type and samples of each metric family."""
    return {
        family.name: (
            family.type,
            {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples},
        )
        for family in text_string_to_metric_families(text)
    }


def exported(hub: Hub, clients: ClientLimit) -> str:
    return Metrics(hub, clients).text().decode()


def test_names_types_labels_buckets_and_values_have_not_changed():
    clients = ClientLimit(5)
    clients.active = 3
    frames = [objects_frame(0, 1, 30, 31), objects_frame(0, 4, 3000, 3001), objects_frame(5, 6, 106, 106)]
    text = exported(hub_with(DAEMON, CAM, YARD, *frames), clients)
    assert families(text) == families((FOLDER / "metrics.txt").read_text())
    assert "_created" not in text


def test_before_the_first_status():
    expected = families((FOLDER / "metrics_without_daemon.txt").read_text())
    assert families(exported(hub_with(), ClientLimit(5))) == expected


def test_a_removed_stream_leaves_no_series():
    hub = hub_with(DAEMON, CAM, YARD, objects_frame(0, 1, 2, 3))
    assert 'stream="cam"' in exported(hub, ClientLimit(5))
    hub.on_message(dataclasses.replace(DAEMON, streams=["yard", "new"]))
    hub.on_message(CAM)
    hub.on_message(objects_frame(0, 1, 2, 3))
    text = exported(hub, ClientLimit(5))
    assert 'stream="cam"' not in text
    assert 'stream="yard"' in text


def test_the_search_for_objects_is_counted_where_it_is_on():
    counts = FindCounts(looks=9, found=4, retired=3, expired=2, failed=1, longest_delay_ms=12.5)
    text = exported(hub_with(DAEMON, CAM, dataclasses.replace(YARD, find=counts)), ClientLimit(5))
    values = {}
    for name, (_, samples) in families(text).items():
        if name.startswith("streamseg_find_"):
            ((_, labels), value) = next(iter(samples.items()))
            assert (len(samples), labels) == (1, (("stream", "yard"),))
            values[name.removeprefix("streamseg_find_")] = value
    wanted = {"looks": 9, "found": 4, "retired": 3, "expired": 2, "failed": 1, "longest_delay_seconds": 0.0125}
    assert values == wanted


def test_prompters_are_counted_by_stream_and_name():
    counts = PrompterCounts(looks=9, proposals=40, found=4, invalid=3, expired=2, failed=1, errors=5, call_ms=20.0)
    text = exported(hub_with(DAEMON, CAM, dataclasses.replace(YARD, prompters={"people": counts})), ClientLimit(5))
    values = {}
    for name, (_, samples) in families(text).items():
        if name.startswith("streamseg_prompter_"):
            ((_, labels), value) = next(iter(samples.items()))
            assert (len(samples), labels) == (1, (("prompter", "people"), ("stream", "yard")))
            values[name.removeprefix("streamseg_prompter_")] = value
    wanted = {"looks": 9, "proposals": 40, "found": 4, "invalid": 3, "expired": 2, "failed": 1, "errors": 5}
    assert values == {**wanted, "call_seconds": 0.02, "longest_delay_seconds": 0}


def test_two_applications_do_not_share_metrics():
    first, second = hub_with(DAEMON, objects_frame(0, 1, 2, 3)), hub_with(DAEMON)
    name = ("streamseg_latency_seconds_count", (("stage", "total"), ("stream", "cam")))
    counts = [families(exported(hub, ClientLimit(5)))["streamseg_latency_seconds"][1][name] for hub in (first, second)]
    assert counts == [1, 0]


def test_a_daemon_with_a_stream_without_masks_does_not_work():
    late = dataclasses.replace(CAM, no_masks_s=7.4)
    hub = hub_with(DAEMON, late, YARD)
    assert "stream cam: no masks for 7 s although frames come" in hub.missing()
    text = exported(hub, ClientLimit(5))
    assert 'streamseg_no_masks_seconds{stream="cam"} 7.4' in text
    assert "streamseg_up 0.0" in text
