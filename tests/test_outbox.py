"""Events wait for a publisher that is away, in order and bounded; other messages do not."""

from __future__ import annotations

import zmq

from streamseg.messages.internal import StreamEvent, decode
from streamseg.outbox import Outbox


def event(number: int) -> StreamEvent:
    return StreamEvent(stream="cam", kind="stream_connected", t_wall_ns=number)


def test_events_wait_in_order_and_the_oldest_are_counted(tmp_path):
    endpoint = f"ipc://{tmp_path}/inbox"
    outbox = Outbox(endpoint)
    try:
        assert not outbox.send(event(-1))  # nobody is there
        for number in range(130):
            outbox.post(event(number))
        assert outbox.lost_events == {"cam": 30}
        with zmq.Context() as context, context.socket(zmq.PULL) as inbox:
            inbox.bind(endpoint)
            got = []
            while len(got) < 100:
                outbox.flush()
                if inbox.poll(50):
                    got.append(decode(inbox.recv()).t_wall_ns)
        assert got == list(range(30, 130))
    finally:
        outbox.close()
