"""Turns of peers, and handshakes that wait for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq

from streamseg.publish import admission
from streamseg.publish.admission import Admission, PeerTurns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_a_peer_that_floods_gets_few_connections_for_ten_seconds(clock: Callable[[float], None]):
    turns = PeerTurns()
    assert [turns.take("10.0.0.1") for _ in range(6)] == [True] * 4 + [False] * 2
    assert turns.take("10.0.0.2")
    turns.punish("10.0.0.1")
    taken = 0
    for _ in range(99):
        clock(0.1)
        taken += sum(turns.take("10.0.0.1") for _ in range(30))
    assert 95 <= taken <= 99
    assert all(turns.take("10.0.0.2") for _ in range(4))
    clock(1.0)
    assert [turns.take("10.0.0.1") for _ in range(4)] == [True] * 4


def test_a_handshake_waits_for_its_turn():
    with zmq.Context() as context:
        turns = PeerTurns()
        admitting = Admission(context, turns)
        outlet = context.socket(zmq.XPUB)
        admitting.watch(outlet)
        port = outlet.bind_to_random_port("tcp://127.0.0.1")
        turns.punish("127.0.0.1")
        assert turns.take("127.0.0.1")  # the next turn comes later
        subscriber = context.socket(zmq.SUB)
        subscriber.subscribe(b"v1/")
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        assert admitting.handshakes.socket.poll(20_000)
        admitting.admit()
        while not outlet.poll(20):
            admitting.admit()
        assert outlet.recv() == b"\x01v1/"
        subscriber.close(linger=0)
        outlet.close(linger=0)
        admitting.close()
