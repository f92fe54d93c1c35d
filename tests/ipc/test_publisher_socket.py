"""Events wait for a publisher that is away, in order and bounded; other messages do not."""

from __future__ import annotations

import zmq

from streamseg.ipc.messages import StreamEvent, decode
from streamseg.ipc.publisher_socket import PublisherSocket


def event(number: int) -> StreamEvent:
    return StreamEvent(stream="cam", kind="stream_connected", t_wall_ns=number)


def test_events_wait_in_order_and_the_oldest_are_counted(tmp_path):
    endpoint = f"ipc://{tmp_path}/inbox"
    publisher_socket = PublisherSocket(endpoint)
    try:
        assert not publisher_socket.try_send(event(-1))  # the publisher is away
        for number in range(130):
            publisher_socket.send_reliable(event(number))
        assert publisher_socket.lost_events == {"cam": 30}
        with zmq.Context() as context, context.socket(zmq.PULL) as inbox:
            inbox.bind(endpoint)
            got = []
            while len(got) < 100:
                publisher_socket.flush()
                if inbox.poll(50):
                    got.append(decode(inbox.recv()).t_wall_ns)
        assert got == list(range(30, 130))
    finally:
        publisher_socket.close()
