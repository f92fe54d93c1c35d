"""Keys of a socket while the process has no descriptor left."""

from __future__ import annotations

import pytest
import zmq

from streamseg.client.keys import load_keys
from streamseg.security import authorized_keys
from streamseg.security.curve_gate import CurveGate
from streamseg.security.zap import HandshakeSocket
from tests.key_files import Keys
from tests.security.descriptors import no_descriptors_left


def test_a_key_that_is_revoked_while_no_descriptor_is_left_ends(keys: Keys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(authorized_keys, "_REFRESH_S", 0.0)
    file = keys.authorize("robot")
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server, context.socket(zmq.DEALER) as client:
        handshakes = HandshakeSocket(context)
        gate = CurveGate(handshakes, keys.folder)
        try:
            gate.secure(server)
            port = server.bind_to_random_port("tcp://127.0.0.1")
            found = load_keys(file)
            assert found is not None
            found.apply(client)
            monitor = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            client.connect(f"tcp://127.0.0.1:{port}")
            client.send(b"request")
            assert handshakes.socket.poll(10_000)
            gate.handle_handshakes()
            assert server.poll(10_000)
            message = server.recv_multipart(copy=False)[-1]
            holder = gate.holder_of(message)
            assert holder is not None
            assert holder.name == "robot"
            with no_descriptors_left():
                gate.refresh()
                assert gate.closed == 0
                keys.folder.revoke("robot")
                gate.refresh()
                assert gate.closed == 1
            assert monitor.poll(10_000)
            client.disable_monitor()
            monitor.close(linger=0)
            client.close(linger=0)
        finally:
            handshakes.close()
