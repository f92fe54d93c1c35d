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


def test_clients_whose_requests_wait_stay():
    """All connected and sent a request while the thread was busy, many more than may be silent."""
    with zmq.Context() as context:
        clients = context.socket(zmq.ROUTER)
        limit = ConnectionLimit(clients, limit=4)
        port = clients.bind_to_random_port("tcp://127.0.0.1")
        dealers = [context.socket(zmq.DEALER) for _ in range(100)]
        for dealer in dealers:
            dealer.connect(f"tcp://127.0.0.1:{port}")
            dealer.send(b"request")
        for turn in range(100):
            if turn % 2:
                limit.handle_accepted()  # some are counted before their request is read, some after it
            assert clients.poll(20_000)
            receiver, request = clients.recv_multipart(copy=False)
            limit.heard(request)
            clients.send_multipart([receiver.bytes, b"reply"])
        limit.handle_accepted()
        limit.close_silent()
        assert limit.closed == 0
        for dealer in dealers:
            assert dealer.poll(20_000)
            dealer.close(linger=0)
        limit.close()
        clients.close(linger=0)
