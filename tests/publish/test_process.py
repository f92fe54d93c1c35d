"""The publisher as a real process, between real rings and real subscribers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket as net
import time

import numpy as np
import pytest
import zmq

from streamseg.client import DaemonStatusMessage, EventMessage, PairedSubscriber, Subscriber
from streamseg.config.schema import PublishConfig
from streamseg.daemon.run_child import run_child
from streamseg.errors import SubscribeTimeoutError
from streamseg.ipc.messages import CaptureReport, DaemonReport, StreamEvent, WorkerReport, encode
from streamseg.publish.spec import PublisherSpec
from streamseg.ring.frame_ring import FrameRing
from tests.publish.publisher_children import (
    HEIGHT,
    WIDTH,
    child,
    collect,
    ignore,
    mask_of,
    source_frame,
    tracked_frame,
    until,
)


def watch(publisher, kinds=("status",), **settings):
    return Subscriber(publisher.endpoint, streams=["cam1"], kinds=kinds, timeout_s=10, **settings)


def status_when(publisher, condition):
    """The first status of cam1 for which ``condition`` holds; each new subscription is answered with one."""

    def look():
        with watch(publisher) as subscriber:
            status = subscriber.receive()
        return status if condition(status) else None

    return until(look, "such a status")


def wait_subscribed(publisher, *kinds):
    return status_when(publisher, lambda status: set(kinds) <= set(status.subscribed))


def test_masks_reach_a_subscriber_in_another_process(publisher):
    with child(collect, publisher.endpoint, ("masks",)) as (_, collected):
        publisher.report("subscribed")
        for _ in range(40):
            publisher.track()
        got = []
        while len(got) < 40 and collected.poll(20):
            got.append(collected.recv())
    assert [frame for frame, *_ in got] == list(range(40))
    assert [seq for _, seq, *_ in got] == list(range(40))
    assert [areas for *_, areas in got] == [[int(mask_of(frame).sum())] for frame in range(40)]
    assert all(gap == 0 and 0 <= age_ms < 20_000 for _, _, gap, age_ms, _ in got)


def test_progress_is_reported_to_the_supervisor(publisher):
    assert publisher.ready.text == publisher.endpoint
    publisher.report("progress")
    publisher.report("progress")


def test_nothing_is_encoded_without_a_subscriber(publisher):
    publisher.track()
    publisher.send(StreamEvent("cam1", "object_added", 1))
    seen = status_when(publisher, lambda s: s.published.get("events") == 1)
    assert set(seen.published) == {"events", "status"}
    assert seen.subscribed == ["status"]
    with watch(publisher, ["objects"]) as objects:
        wait_subscribed(publisher, "objects")
        publisher.track()
        assert objects.receive().frame == 1
    status_when(publisher, lambda s: s.subscribed == ["status"])
    publisher.track()
    publisher.send(StreamEvent("cam1", "object_added", 2))
    seen = status_when(publisher, lambda s: s.published.get("events") == 2)
    assert (seen.published["objects"], "masks" in seen.published, "image" in seen.published) == (1, False, False)


def test_a_new_subscriber_gets_the_status_at_once(publisher):
    statuses = [status_when(publisher, bool) for _ in range(15)]
    messages = statuses[-1].seq - statuses[0].seq
    elapsed_s = (statuses[-1].t_wall_ns - statuses[0].t_wall_ns) / 1e9
    assert messages > 2 * elapsed_s  # the beat alone is 1 a second
    assert messages <= 1 + 10 * elapsed_s  # subscribing causes at most 10 a second


def test_pictures_come_with_the_masks_of_their_frame(publisher):
    with PairedSubscriber(publisher.endpoint, streams=["cam1"], timeout_s=10) as pairs:
        wait_subscribed(publisher, "masks", "image")
        for luma in (60, 120, 180):
            sent = publisher.track(luma=luma)
            assert sent.slot >= 0
            pair = pairs.receive()
            assert (pair.frame, pair.image.frame, pair.image.size) == (sent.frame_id, sent.frame_id, (WIDTH, HEIGHT))
            np.testing.assert_allclose(pair.image.rgb, round((luma - 16) * 255 / 219), atol=2)
            assert pair.masks.objects[0].area == mask_of(sent.frame_id).sum()
    until(lambda: publisher.rings["cam1"].counters().held == 0, "all slots free")


def test_limited_rates_get_fewer_frames_and_pairs_match(publisher):
    with (
        watch(publisher, ("masks",), mode="all") as every,
        watch(publisher, ("masks",), mode="all", max_rate_hz=10) as few,
        PairedSubscriber(publisher.endpoint, streams=["cam1"], timeout_s=10, max_rate_hz=5) as pairs,
    ):
        wait_subscribed(publisher, "masks", "image")
        started_s, sent, got, paired = time.monotonic(), 0, [], []
        while time.monotonic() - started_s < 3 or len(paired) < 3:
            publisher.track(luma=sent % 200)
            sent += 1
            assert every.receive().rate_hz is None
            for reader, results in ((few, got), (pairs, paired)):
                with contextlib.suppress(SubscribeTimeoutError):
                    results.append(reader.receive(0.001))
        seconds = time.monotonic() - started_s
    assert len(got) < sent or sent <= 10 * seconds  # a busy machine may not reach the limit
    assert len(got) <= 10 * seconds + 2
    assert len(paired) <= 5 * seconds + 2
    assert {frame.rate_hz for frame in got} == {10.0}
    assert sum(frame.gap for frame in got) == 0
    assert got[-1].frame - got[0].frame == len(got) - 1 + sum(frame.skipped for frame in got)
    assert all(pair.image.frame == pair.masks.frame for pair in paired)
    published = status_when(publisher, lambda status: "masks@10" in status.published).published
    assert published["masks"] == sent
    assert published["masks@10"] >= len(got)


@pytest.mark.parametrize(("prefix", "gets_copies"), [(b"v1", False), (b"v1/", False), (b"", True)])
def test_a_subscriber_of_everything_also_gets_limited_rates(publisher, prefix, gets_copies):
    """Copies at a limited rate reach a subscriber of all bytes only, and their topics tell them apart."""
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as raw,
        watch(publisher, ("masks",), mode="all", max_rate_hz=30) as limited,
    ):
        raw.linger = 0
        raw.connect(publisher.endpoint)
        raw.subscribe(prefix)
        seen = []
        status_when(publisher, lambda status: {"masks", "image"} <= set(status.subscribed))
        sent = copied = 0
        while copied < 3:
            publisher.track()
            sent += 1
            with contextlib.suppress(SubscribeTimeoutError):  # not every frame is due at 30 Hz
                limited.receive(0.05)
                copied += 1
        publisher.send(StreamEvent("cam1", "object_added", 1))
        while not seen or seen[-1] != b"v1/cam1/events/":
            assert raw.poll(10_000)
            seen.append(raw.recv_multipart()[0])
    copies = [topic for topic in seen if not topic.startswith(b"v1/")]
    assert seen.count(b"v1/cam1/masks/") == sent
    assert set(copies) == ({b"r30/v1/cam1/masks/"} if gets_copies else set())
    assert len(copies) >= (3 if gets_copies else 0)


def test_slots_come_back_when_pictures_are_not_taken(publisher):
    """Faster than JPEGs are made, and with the subscriber leaving in between."""
    with Subscriber(publisher.endpoint, streams=["cam1"], kinds=["image"], timeout_s=10) as images:
        wait_subscribed(publisher, "image")
        for _ in range(100):
            publisher.track()
        images.receive()
    for _ in range(100):
        publisher.track()
    seen = status_when(publisher, lambda s: s.subscribed == ["status"])
    until(lambda: publisher.rings["cam1"].counters().held == 0, "all slots free")
    assert publisher.rings["cam1"].counters().no_slot == 0
    lost = sum(count for reason, count in seen.drops.items() if reason.startswith("image/"))
    assert 0 < seen.published["image"] <= 200 - lost


def test_a_slot_shared_for_a_subscriber_that_left_comes_back(publisher):
    with watch(publisher, ["image"]):
        wait_subscribed(publisher, "image")
        frame_id = publisher.writers["cam1"].write(source_frame(128))
        with publisher.readers["cam1"].take() as held:
            assert held.share_with("publisher")
            message = tracked_frame("cam1", frame_id, slot=held.slot)
    status_when(publisher, lambda s: s.subscribed == ["status"])
    assert publisher.rings["cam1"].counters().held == 1
    publisher.send(message)
    until(lambda: publisher.rings["cam1"].counters().held == 0, "the slot")


def test_status_combines_all_reports(publisher):
    first = status_when(publisher, bool)
    assert (first.state, first.source, first.frames) == ("starting", "rtsp://user:***@cam1", 0)
    publisher.send(
        CaptureReport("cam1", "streaming", "rtsp://cam1", (64, 48), 25.0, 3, 1, 2, {"decode/corrupt": 4}, "")
    )
    publisher.send(WorkerReport("nano", "cpu", {"cam1": 2}, {"cam1": {"publish/queue_full": 1}}))
    publisher.send(DaemonReport(5.0, {"worker": "ready"}, {"worker": 0}))
    publisher.writers["cam1"].write(source_frame(128))
    publisher.writers["cam1"].write(source_frame(128))  # supersedes the one before
    publisher.readers["cam1"].take().release()
    publisher.track()
    status = status_when(publisher, lambda s: s.fps_out > 0)
    assert (status.state, status.source, status.fps_in, status.size) == ("streaming", "rtsp://cam1", 25.0, (64, 48))
    assert (status.frames, status.tracked, status.reconnects, status.objects) == (3, 2, 1, 1)
    assert status.drops == {"decode/corrupt": 4, "publish/queue_full": 1, "ring/superseded": 1}
    assert set(status.latency_ms) == {"decode", "track", "publish", "total"}
    # Replaced processes count from 0; the sums go on.
    publisher.send(CaptureReport("cam1", "streaming", "rtsp://cam1", (64, 48), 25.0, 0, 0, 3, {}, ""))
    publisher.send(WorkerReport("nano", "cpu", {"cam1": 1}, {}))
    status = status_when(publisher, lambda s: s.tracked == 3)
    assert (status.reconnects, status.drops["decode/corrupt"]) == (1, 4)
    with Subscriber(publisher.endpoint, streams=["_daemon"], kinds=["status"], timeout_s=10) as subscriber:
        daemon = subscriber.receive()
    assert isinstance(daemon, DaemonStatusMessage)
    assert (daemon.model, daemon.device, daemon.streams, daemon.version) == ("nano", "cpu", ["cam1"], "0.0.1")
    assert (daemon.uptime_s, daemon.processes, daemon.restarts) == (5.0, {"worker": "ready"}, {"worker": 0})


def test_events_are_numbered(publisher):
    with watch(publisher, ["events"]) as events:
        wait_subscribed(publisher, "events")
        for number in range(3):
            publisher.send(StreamEvent("cam1", "object_lost", number, 1, 7, 3, "cup", "gone"))
            publisher.send(StreamEvent("nosuch", "object_lost", 9))
        got = [events.receive() for _ in range(3)]
    assert all(isinstance(event, EventMessage) for event in got)
    assert [(e.seq, e.event, e.t_wall_ns, e.frame, e.object, e.label, e.detail) for e in got] == [
        (number, "object_lost", number, 7, 3, "cup", "gone") for number in range(3)
    ]


def test_a_mask_that_cannot_be_encoded_costs_its_frame_only(publisher):
    with watch(publisher, ["masks"]) as subscriber:
        wait_subscribed(publisher, "masks")
        publisher.track(bits=b"too short")
        publisher.publisher_socket._socket.send(b"\xc1 no message at all")
        report = encode(CaptureReport("cam1", "streaming", "??", (1, 1), 0, 0, 0, 0, {}, ""))
        publisher.publisher_socket._socket.send(report.replace(b"??", b"\xe9\xff"))
        sent = publisher.track()
        masks = subscriber.receive()
    assert (masks.frame, masks.seq) == (sent.frame_id, 0)
    assert status_when(publisher, lambda s: s.drops).drops == {"publish/invalid": 1}


def poke(subscriber):
    """Let a subscriber poll while there are no messages."""
    with pytest.raises(SubscribeTimeoutError):
        subscriber.receive(0)


def test_a_killed_publisher_is_replaced_within_the_session(publisher):
    with Subscriber(publisher.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
        wait_subscribed(publisher, "masks")
        for _ in range(5):
            publisher.track()
        before = [subscriber.receive() for _ in range(5)][-1]
        publisher.process.kill()
        publisher.process.join()
        publisher.start()
        # libzmq subscribes again only while the subscriber polls.
        until(lambda: poke(subscriber) or "masks" in status_when(publisher, bool).subscribed, "the reconnect")
        sent = publisher.track()
        after = subscriber.receive()
    assert (before.seq, after.seq) == (4, 0)
    assert (after.frame, after.session) == (sent.frame_id, before.session)
    assert after.publisher != before.publisher
    assert after.gap == 0


def test_a_second_daemon_on_the_same_path_is_refused(publisher, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    report = refused(dataclasses.replace(publisher.spec, internal_endpoint=f"ipc://{other}/internal"))
    assert "publish.endpoints: 'ipc://" in report.text
    assert "a second streamseg" in report.text
    assert list(other.iterdir()) == []
    with Subscriber(publisher.endpoint, streams=["cam1"], timeout_s=10) as subscriber:
        wait_subscribed(publisher, "masks")
        sent = publisher.track()
        assert subscriber.receive().frame == sent.frame_id


def test_an_endpoint_that_cannot_be_bound_ends_with_a_clear_message(tmp_path):
    with net.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        spec = PublisherSpec(
            session="s",
            publish=PublishConfig(endpoints=(endpoint,)),
            internal_endpoint=f"ipc://{tmp_path}/in",
            commands_endpoint=f"ipc://{tmp_path}/commands",
            streams={},
            model="nano",
            version="0",
        )
        report = refused(spec)
    assert f"publish.endpoints: {endpoint!r} cannot be bound: another program listens there" in report.text
    open_to_all = dataclasses.replace(spec, publish=PublishConfig(endpoints=("tcp://0.0.0.0:*",)))
    assert "run `streamseg keys authorize NAME`" in refused(open_to_all).text
    assert list(tmp_path.iterdir()) == []


def refused(spec):
    """Start a publisher as the supervisor does; return its fatal report."""
    rings = {stream: FrameRing(policy="newest", slots=2, slot_bytes=4096) for stream in spec.streams}
    with child(run_child, "publisher", "streamseg.publish.process", (spec, rings)) as (process, connection):
        assert connection.poll(30)
        report = connection.recv()
        process.join(timeout=10)
        assert process.exitcode == report.exit_code == 2
    for ring in rings.values():
        ring.close()
    assert report.kind == "fatal"
    return report


def test_it_stops_at_once_and_leaves_nothing(publisher, tmp_path):
    with child(ignore, publisher.endpoint) as (frozen, said):
        until(lambda: publisher.track() and said.poll(), "a subscriber")
        os.kill(frozen.pid, signal.SIGSTOP)
        for _ in range(100):
            publisher.track()
        assert {path.name for path in tmp_path.iterdir()} == {"pub", "pub.lock", "internal", "internal.lock"}
        began = time.monotonic()
        assert publisher.stop() == 0
    # The supervisor gives it 0.8 s; the rest is for a busy machine. A frozen subscriber takes nothing, ever.
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


def test_what_was_tracked_before_the_stop_is_published(publisher):
    with child(collect, publisher.endpoint, ("masks",)) as (_, collected):
        publisher.report("subscribed")
        for _ in range(30):
            publisher.track()
        publisher.publisher_socket.close()  # the worker ends first
        assert publisher.stop() == 0
        got = []
        while len(got) < 30 and collected.poll(20):
            got.append(collected.recv()[0])
    assert got == list(range(30))


def test_it_ends_with_its_supervisor(publisher, tmp_path):
    publisher.connection.close()
    publisher.process.join(timeout=10)
    assert publisher.process.exitcode == 0
    assert list(tmp_path.iterdir()) == []
