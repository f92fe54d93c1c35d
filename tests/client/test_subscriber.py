"""The blocking subscriber over real sockets."""

from __future__ import annotations

import math
import socket as net
import subprocess
import sys
import threading
import time

import pytest

import streamseg.client.subscriber
from streamseg.client import MaskFrame, PairedSubscriber, Subscriber
from streamseg.errors import ConfigError, StreamsegError, SubscribeTimeoutError
from streamseg.protocol.clock import clock_name


def until_shed(subscriber):
    """Receive until the backlog is dropped; return the results before that."""
    got = []
    deadline = time.monotonic() + 20
    while not subscriber.stats.backlogs_shed and time.monotonic() < deadline:
        try:
            got.append(subscriber.receive(0.05).frame)
        except SubscribeTimeoutError:
            continue
    return got


def test_the_client_loads_neither_torch_nor_av_nor_opencv():
    code = (
        "import sys, streamseg.client, streamseg.protocol.mask_codec;"
        "print(sorted({'torch', 'av', 'cv2', 'pycocotools', 'hydra'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_everything_public_is_exported():
    assert set(streamseg.client.__all__) <= set(dir(streamseg.client))


def test_the_readme_loop(golden, outlet):
    with Subscriber(outlet.endpoint, timeout_s=20) as subscriber:
        outlet.wait(b"\x01v1/_daemon/status/")
        outlet.send(golden("daemon_status"))
        assert_times_out(subscriber)  # nothing for us yet, but now it knows of cam1
        outlet.wait(b"\x01v1/cam1/masks/")
        assert not [name for name in outlet.taken() if b"image" in name or b"objects" in name]
        outlet.send(golden.masks(3))
        for frame in subscriber:
            assert isinstance(frame, MaskFrame)
            assert [(obj.id, int(obj.mask.sum())) for obj in frame.objects] == [(1, 14), (2, 27), (3, 0)]
            break


def assert_times_out(subscriber, timeout_s=0.5):
    with pytest.raises(SubscribeTimeoutError) as caught:
        subscriber.receive(timeout_s)
    return str(caught.value)


def test_latest_skips_what_piled_up(golden, outlet):
    with Subscriber(outlet.endpoint, streams=["cam1"], timeout_s=20) as subscriber:
        outlet.wait(b"\x01v1/cam1/masks/")
        outlet.send(*(golden.masks(frame) for frame in range(40)))
        frame = subscriber.receive()
        while frame.frame < 39:  # part of it may still be on its way
            newer = subscriber.receive()
            assert newer.frame > frame.frame
            frame = newer
        assert subscriber.stats.received == 40


def test_all_gives_everything_in_order(golden, outlet):
    with Subscriber(outlet.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
        outlet.wait(b"\x01v1/cam1/masks/")
        # From another machine, whose clock cannot be compared.
        outlet.send(*(golden.masks(frame) for frame in range(40)))
        assert [subscriber.receive().frame for _ in range(40)] == list(range(40))


def test_a_backlog_is_shed_by_a_new_connection(golden, outlet):
    stale = str(time.monotonic_ns() - 5_000_000_000)
    with Subscriber(outlet.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
        outlet.wait(b"\x01v1/cam1/masks/")
        outlet.send(*(golden.masks(frame, clock=clock_name(), t_published_ns=stale) for frame in range(30)))
        assert until_shed(subscriber) == []
        outlet.wait(b"\x00v1/cam1/masks/", b"\x01v1/cam1/masks/")
        now = str(time.monotonic_ns())
        outlet.send(golden.masks(30, clock=clock_name(), t_published_ns=now))
        assert subscriber.receive().frame == 30
        assert subscriber.stats.backlogs_shed == 1
        # The queue of the old connection is gone, not read.
        assert subscriber.stats.received < 31


def test_hostile_bytes_are_counted_and_skipped(golden, outlet):
    with Subscriber(outlet.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
        outlet.wait(b"\x01v1/cam1/masks/")
        outlet.send(
            [b"v1/cam1/masks/"],
            [b"v1/cam1/masks/", b"\xff\xfe\x00"],
            [b"v1/cam1/masks/", b'{"type":"masks"}', b"", b""],
            [b"v1/cam1/masks/" + b"x" * 1000, b"{}"],
            golden.masks(1),
        )
        assert subscriber.receive().frame == 1
        assert subscriber.stats.malformed == 3


def test_a_listener_that_speaks_no_zeromq_is_a_timeout():
    with net.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with Subscriber(endpoint, timeout_s=0.3) as subscriber:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                with pytest.raises(SubscribeTimeoutError, match=f"{endpoint} within 0.3 s: nothing was received"):
                    subscriber.receive()


def test_the_timeout_is_an_ordinary_timeout_error_too(outlet):
    with Subscriber(outlet.endpoint, streams=["cam1"], timeout_s=0.05) as subscriber, pytest.raises(TimeoutError):
        next(subscriber)


def test_iteration_outlives_an_outage_and_receive_does_not(golden, outlet, monkeypatch):
    monkeypatch.setattr(streamseg.client.subscriber, "DEFAULT_TIMEOUT_S", 0.1)
    got = []
    with Subscriber(outlet.endpoint, streams=["cam1"]) as subscriber:
        outlet.wait(b"\x01v1/cam1/masks/")
        with pytest.raises(SubscribeTimeoutError, match=r"within 0\.1 s"):
            subscriber.receive()
        thread = threading.Thread(target=lambda: got.append(next(subscriber).frame), daemon=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        outlet.send(golden.masks(7))
        thread.join(20)
        assert got == [7]
        outlet.send(golden.masks(8))
        assert subscriber.receive(math.inf).frame == 8


def test_pairs_are_of_one_frame(golden, outlet):
    with PairedSubscriber(outlet.endpoint, streams=["cam1"], timeout_s=20) as pairs:
        outlet.wait(b"\x01v1/cam1/masks/", b"\x01v1/cam1/image/")
        outlet.send(*(golden.masks(frame) for frame in range(4)), golden("image", frame=2, seq=0))
        pair = next(pairs)
    assert (pair.frame, pair.image.frame, pair.masks.frame) == (2, 2, 2)


def test_impossible_endpoints_are_refused_and_nothing_is_left_open():
    for endpoint in ("5555", "http://127.0.0.1", "tcp://127.0.0.1", "udp://127.0.0.1:5"):
        with pytest.raises(ConfigError, match="write tcp://HOST:PORT"):
            Subscriber(endpoint)
    with pytest.raises(ConfigError, match="mode: 'newest'"):
        Subscriber("tcp://127.0.0.1:1", mode="newest")


def test_a_closed_subscriber_is_an_error(outlet):
    subscriber = Subscriber(outlet.endpoint)
    subscriber.close()
    subscriber.close()
    assert list(subscriber) == []
    with pytest.raises(StreamsegError, match="closed"):
        subscriber.receive()


def test_a_loop_that_waits_says_once_why_there_is_no_connection(monkeypatch, caplog):
    monkeypatch.setattr("streamseg.client.connect._WARN_AFTER_S", 0.2)
    with net.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=(server,), daemon=True).start()
        with Subscriber(f"tcp://127.0.0.1:{server.getsockname()[1]}") as subscriber:
            deadline = time.monotonic() + 15
            while not caplog.records:
                assert time.monotonic() < deadline
                with pytest.raises(SubscribeTimeoutError):
                    subscriber.receive(0.1)
            assert_times_out(subscriber)
            assert "perhaps it asks for a key" in subscriber.problem
            assert [record.getMessage() for record in caplog.records] == [
                f"no connection to tcp://127.0.0.1:{server.getsockname()[1]}: {subscriber.problem}; trying again"
            ]


def hang_up(server):
    """Close each connection at once, until the server is closed."""
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return
