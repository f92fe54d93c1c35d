"""Turns of peers, and handshakes that wait for them."""

from __future__ import annotations

import socket as net
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from streamseg.publish import admission
from streamseg.publish.admission import Admission, PeerTurns
from tests.publish.test_subscriber_guard import zmtp_greeting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def take(turns: PeerTurns, peer: str) -> bool:
    if not turns.may_begin(peer):
        return False
    turns.begin(peer)
    return True


def test_a_peer_that_floods_gets_few_connections_for_ten_seconds(clock: Callable[[float], None]):
    turns = PeerTurns()
    assert [take(turns, "10.0.0.1") for _ in range(6)] == [True] * 4 + [False] * 2
    assert take(turns, "10.0.0.2")
    turns.punish("10.0.0.1")
    taken = 0
    for _ in range(99):
        clock(0.1)
        taken += sum(take(turns, "10.0.0.1") for _ in range(30))
    assert 95 <= taken <= 99
    assert all(take(turns, "10.0.0.2") for _ in range(4))
    clock(1.0)
    assert [take(turns, "10.0.0.1") for _ in range(4)] == [True] * 4


@contextmanager
def admitted_slowly() -> Iterator[tuple[PeerTurns, Admission, zmq.Socket, int]]:
    """A socket that subscribers connect to at a port, whose handshakes wait for turns."""
    with zmq.Context() as context:
        turns = PeerTurns()
        admitting = Admission(context, turns)
        outlet = context.socket(zmq.XPUB)
        admitting.watch(outlet)
        try:
            yield turns, admitting, outlet, outlet.bind_to_random_port("tcp://127.0.0.1")
        finally:
            outlet.close(linger=0)
            admitting.close()


def test_a_handshake_waits_for_its_turn():
    with admitted_slowly() as (turns, admitting, outlet, port):
        turns.punish("127.0.0.1")
        assert take(turns, "127.0.0.1")  # the next turn comes later
        subscriber = outlet.context.socket(zmq.SUB)
        subscriber.subscribe(b"v1/")
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        assert admitting.handshakes.socket.poll(20_000)
        admitting.admit()
        while not outlet.poll(20):
            admitting.admit()
        assert outlet.recv() == b"\x01v1/"
        subscriber.close(linger=0)


def test_closed_connections_take_no_turn(clock: Callable[[float], None]):
    with admitted_slowly() as (turns, admitting, outlet, port):
        closings = outlet.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        while take(turns, "127.0.0.1"):
            pass
        for _ in range(10):
            with net.create_connection(("127.0.0.1", port), timeout=20) as hasty:
                hasty.sendall(zmtp_greeting("SUB"))
                assert admitting.handshakes.socket.poll(20_000)
                admitting.admit()
            assert closings.poll(20_000)
            closings.recv_multipart()
        subscriber = outlet.context.socket(zmq.SUB)
        subscriber.subscribe(b"v1/")
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        assert admitting.handshakes.socket.poll(20_000)
        clock(0.02)  # a single turn
        admitting.admit()
        assert outlet.poll(20_000)
        assert outlet.recv() == b"\x01v1/"
        assert admitting.wait_ms() > 20  # none waits
        subscriber.close(linger=0)
        outlet.disable_monitor()
        closings.close(linger=0)


def test_handshakes_beyond_the_limit_of_a_peer_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admission, "_MAX_WAITING", 2)
    with admitted_slowly() as (turns, admitting, _outlet, port):
        monkeypatch.setattr(turns, "may_begin", lambda peer: False)
        hasty = [net.create_connection(("127.0.0.1", port), timeout=20) for _ in range(5)]
        for connection in hasty:
            connection.sendall(zmtp_greeting("SUB"))
            assert admitting.handshakes.socket.poll(20_000)
            admitting.admit()
        assert admitting.dropped == 3
        for connection in hasty:
            connection.close()
