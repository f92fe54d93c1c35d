"""Subscribers that flood the publisher, freeze or send garbage, beside a healthy one that must not notice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket as net
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq

from streamseg.client import Subscriber
from streamseg.errors import SubscribeTimeoutError
from streamseg.publish import subscriber_guard
from streamseg.publish.admission import PeerTurns
from tests.publish.publisher_children import child, collect, ignore, until


@pytest.mark.parametrize("subscriptions", ["many", "oversized", "foreign"])
def test_hostile_subscribers_do_no_harm(start, subscriptions):
    with net.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    publisher = start(endpoints=(f"tcp://127.0.0.1:{port}",))
    endpoint = publisher.ready.text
    with zmq.Context() as context, context.socket(zmq.XSUB) as hostile, net.socket() as raw:
        hostile.linger = 0
        hostile.sndhwm = 0
        hostile.connect(endpoint)
        raw.connect(("127.0.0.1", port))
        match subscriptions:
            case "many":
                for number in range(20_000):
                    hostile.send(b"\x01v1/%d" % number)
                for name in (b"v1/\xff\xfe", b"v1/cam1/masks/\x00", b"V1/", b"v1/cam"):
                    hostile.send(b"\x01" + name)
            case "oversized":
                hostile.send(b"\x01" + b"v1/cam1/" * 30)
                # By hand, since libzmq's own subscriber overflows its stack on this one.
                raw.sendall(zmtp_greeting("SUB"))
                with contextlib.suppress(ConnectionError):
                    raw.sendall(zmtp_message(b"\x01" + b"v1/cam1/" * 1_000_000))
                    raw.settimeout(10)
                    while raw.recv(4096):  # until the publisher hangs up
                        pass
            case "foreign":
                raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(2000))
                hostile.send(b"\x02 neither one nor the other")
                hostile.send(b"")
                hostile.send(b"\x00v1/cam1/masks/")
        with Subscriber(endpoint, streams=["cam1"], mode="all", timeout_s=10) as subscriber:
            # A subscription takes effect after the hostile ones before it were handled.
            first = until(lambda: (publisher.track(), poked(subscriber))[1], "the first masks")
            sent = publisher.track()
            assert next(one for one in subscriber if one.frame >= sent.frame_id).frame == sent.frame_id
            assert first.frame < sent.frame_id
    assert publisher.stop() == 0


def poked(subscriber):
    """Whether a message is there."""
    with contextlib.suppress(SubscribeTimeoutError):
        return subscriber.receive(0.1)


def flood(endpoint, size, connection):
    """Subscribe to 300,000 topics that do not exist; libzmq repeats them whenever it is disconnected."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as socket:
        socket.linger = 0
        socket.sndhwm = 0
        socket.connect(endpoint)
        for number in range(300_000):
            socket.send(b"\x01" + (b"%08d" % number).ljust(size, b"x"))
        connection.send("sent")
        time.sleep(600)


def peak_bytes(pid):
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


FLOOD_FPS = 50


@pytest.mark.parametrize(
    ("transport", "size"),
    [("ipc", 128), ("tcp", 128), ("tcp", 200), pytest.param("ipc", 200, marks=pytest.mark.long)],
)
def test_a_flood_of_topics_costs_its_sender_the_connection(start, transport, size):
    publisher = start() if transport == "ipc" else start(endpoints=("tcp://127.0.0.1:*",))
    endpoint = publisher.ready.text
    with (
        Subscriber(endpoint, streams=["cam1"], mode="all") as healthy,
        Subscriber(endpoint, streams=["_daemon"], kinds=["events"], mode="all", timeout_s=20) as events,
    ):
        first = until(lambda: (publisher.track(), poked(healthy))[1], "the first masks")
        got, behind = [first], []
        with child(flood, endpoint, size):
            for _ in range(4 * FLOOD_FPS):
                sent = publisher.track()
                with contextlib.suppress(SubscribeTimeoutError):
                    deadline = time.monotonic() + 1 / FLOOD_FPS
                    while True:
                        got.append(healthy.receive(max(0.0, deadline - time.monotonic())))
                behind.append(sent.frame_id - got[-1].frame)
            while got[-1].frame < sent.frame_id:
                got.append(healthy.receive(20))
            if size <= 128:  # longer ones libzmq refuses by itself, without an event
                event = events.receive()
                assert event.event == "subscriber_dropped"
                assert "connections closed" in event.detail
        peak = peak_bytes(publisher.process.pid)
    assert [frame.frame for frame in got] == [*range(first.frame, sent.frame_id + 1)]  # nothing is lost,
    assert max(behind) < FLOOD_FPS  # and nothing comes a second late, counted in frames: a busy machine sends slower
    assert peak < 256e6
    assert publisher.stop() == 0


def test_a_flood_costs_no_other_connection_of_its_peer(monkeypatch):
    monkeypatch.setattr(subscriber_guard, "_MAX_SENT_BYTES", 1000)
    monkeypatch.setattr(subscriber_guard, "_MAX_PEER_BYTES", 4000)
    with zmq.Context() as context, context.socket(zmq.XPUB) as outlet:
        outlet.linger = 0
        guard = subscriber_guard.SubscriberGuard(outlet, PeerTurns())
        address = ("127.0.0.1", outlet.bind_to_random_port("tcp://127.0.0.1"))
        with net.create_connection(address, 20) as honest, net.create_connection(address, 20) as flooder:
            honest.sendall(zmtp_greeting("SUB"))
            flooder.sendall(zmtp_greeting("SUB"))
            said = b""
            while b"READY" not in said:
                said += flooder.recv(4096)
            flooder.sendall(1000 * b"\x00\x04\x01v2/")
            with contextlib.suppress(ConnectionError):
                while flooder.recv(4096):  # until it is closed
                    pass
            guard.close()
            assert guard.dropped == 1
            honest.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # open, and nothing left to read
                while honest.recv(4096):
                    pass
                pytest.fail("closed")


def test_the_connections_of_a_flooder_use_up_the_topics_of_no_other_peer(monkeypatch):
    monkeypatch.setattr(subscriber_guard, "_MAX_UNKNOWN_OF_ALL", 40)
    with zmq.Context() as context, context.socket(zmq.XPUB) as outlet:
        outlet.linger = 0
        outlet.setsockopt(zmq.XPUB_VERBOSE, 1)
        guard = subscriber_guard.SubscriberGuard(outlet, PeerTurns())
        port = outlet.bind_to_random_port("tcp://127.0.0.1")

        def subscribe(address, topics):
            socket = context.socket(zmq.SUB)
            socket.linger = 0
            socket.connect(f"tcp://{address}:0;127.0.0.1:{port}")
            for number in range(topics):
                socket.subscribe(b"early/%d" % number)
                assert outlet.poll(20_000)
                message = outlet.recv(copy=False)
                guard.count(message)
            return socket, subscriber_guard.connection_of(message)

        honest = subscribe("127.0.0.2", 20)
        flooders = [subscribe("127.0.0.1", 4) for _ in range(6)]
        assert guard.dropped >= 1
        assert subscriber_guard.is_open(honest[1])
        for socket, _ in (honest, *flooders):
            socket.close()
        guard.close()


def test_a_connection_that_closes_while_the_worst_is_chosen_ends_nothing(monkeypatch):
    monkeypatch.setattr(subscriber_guard, "_MAX_UNKNOWN_OF_ALL", 1)
    with zmq.Context() as context, context.socket(zmq.XPUB) as outlet, context.socket(zmq.SUB) as subscriber:
        outlet.setsockopt(zmq.XPUB_VERBOSE, 1)
        guard = subscriber_guard.SubscriberGuard(outlet, PeerTurns())
        subscriber.connect(f"tcp://127.0.0.1:{outlet.bind_to_random_port('tcp://127.0.0.1')}")
        answers = iter(["127.0.0.1"])
        monkeypatch.setattr(guard, "_peer", lambda connection: next(answers, ""))
        for _ in range(2):
            subscriber.subscribe(b"early/")
            assert outlet.poll(20_000)
            guard.count(outlet.recv(copy=False))
        assert guard.dropped == 1
        guard.close()


def test_a_subscriber_of_many_topics_that_exist_stays(start):
    streams = tuple(f"camera-{number:02}-of-a-long-corridor-in-the-old-building" for number in range(24))
    publisher = start(streams=streams)
    kinds = ["masks", "objects", "events", "status"]
    with Subscriber(publisher.endpoint, streams=streams, kinds=kinds, mode="all", timeout_s=20) as one:
        publisher.report("subscribed")
        seen = set()
        while seen != set(streams):  # subscriptions take effect one by one
            for stream in set(streams) - seen:
                publisher.track(stream)
            message = one.receive()
            if message.kind == "masks":
                seen.add(message.stream)


def zmtp_greeting(socket_type):
    """The greeting of a ZMTP 3.0 peer without security."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type" + len(socket_type).to_bytes(4, "big") + socket_type.encode()
    return greeting + b"\x04" + bytes([len(ready)]) + ready


def zmtp_message(body):
    return b"\x02" + len(body).to_bytes(8, "big") + body


def test_a_frozen_subscriber_neither_delays_others_nor_fills_memory(start):
    publisher = start(encoding="bits_zstd")
    noise = np.random.default_rng(0).random((1600, 2048)) < 0.5
    size = noise.size // 8  # noise cannot be compressed
    message = {"mask": noise, "size": (2100, 1700)}
    me = psutil.Process(publisher.process.pid)
    with (
        child(ignore, publisher.endpoint) as (frozen, said),
        child(collect, publisher.endpoint, ("masks",)) as (
            _,
            collected,
        ),
    ):
        until(lambda: publisher.track(**message) and collected.poll() and said.poll(), "both subscribers")
        os.kill(frozen.pid, signal.SIGSTOP)
        last = -1
        while last < publisher.rings["cam1"].counters().frames - 1:
            assert collected.poll(20)
            last = collected.recv()[0]
        before = me.memory_info().rss
        for _ in range(160):  # more than twice what may wait for the frozen one
            sent = publisher.track(**message).frame_id
            while last < sent:
                assert collected.poll(20), "the healthy subscriber waits"
                last, _, gap, _, _ = collected.recv()
                assert gap == 0
        grown = me.memory_info().rss - before
    # 64 messages wait for the frozen one; the rest of 160 must be gone. 16 MB for buffers and the allocator.
    assert grown < 64 * size + 16e6
    assert 160 * size > 64 * size + 32e6
