"""The sending end of the socket on which all processes talk to the publisher."""

from __future__ import annotations

import zmq

from streamseg.messages.internal import InternalMessage, encode
from streamseg.topics import INTERNAL_HWM


class Outbox:
    """Sends internal messages to the publisher. Used by one thread.

    While the publisher is down nothing is queued (``ZMQ_IMMEDIATE``): after its restart subscribers get fresh masks
    rather than a backlog of old ones.

    Args:
        endpoint: Where the publisher binds its PULL socket.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.connect(endpoint)

    def send(self, message: InternalMessage, timeout_s: float = 0.0) -> bool:
        """Send a message.

        Blocks: up to ``timeout_s`` while the queue is full or the publisher away.

        Returns:
            False if it could not be sent; the caller counts it.
        """
        if timeout_s > 0 and not self._socket.poll(int(timeout_s * 1000), zmq.POLLOUT):
            return False
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close the socket; what is queued has 200 ms to leave."""
        self._socket.close()
        self._context.term()
