"""The limit on silent connections, with sockets of its own."""

from __future__ import annotations

import socket
import threading

import zmq

from streamseg.control.connection_limit import ConnectionLimit


def test_more_connections_than_a_monitor_holds_block_nothing():
    """They came while the thread was busy: by default libzmq holds 2,000 events, and then blocks."""
    with zmq.Context() as context:
        clients = context.socket(zmq.ROUTER)
        clients.setsockopt(zmq.BACKLOG, 4096)  # none waits for a second
        limit = ConnectionLimit(clients)
        port = clients.bind_to_random_port("tcp://127.0.0.1")
        for _ in range(2500):
            socket.create_connection(("127.0.0.1", port), timeout=20).close()
        closing = threading.Thread(target=limit.close, daemon=True)
        closing.start()
        closing.join(timeout=20)
        assert not closing.is_alive()
        clients.close(linger=0)
