"""The sending end of the socket on which all processes talk to the publisher."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import zmq

from streamseg.ipc.messages import InternalMessage, StreamEvent, encode
from streamseg.protocol.topics import INTERNAL_HWM

_MAX_WAITING: Final = 100


class PublisherSocket:
    """Sends internal messages to the publisher. Used by one thread.

    While the publisher is down nothing is queued (``ZMQ_IMMEDIATE``): after its restart subscribers get fresh masks
    rather than a backlog of old ones.

    Args:
        endpoint: Where the publisher binds its PULL socket.

    Attributes:
        lost_events: Stream -> events of it that were given up because too many waited: drops of stage ``event``,
            reason ``publisher_away``.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.connect(endpoint)
        self._waiting: deque[StreamEvent] = deque()
        self.lost_events: Counter[str] = Counter()

    def try_send(self, message: InternalMessage, timeout_s: float = 0.0) -> bool:
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

    def send_reliable(self, event: StreamEvent) -> None:
        """Send an event. It must not be lost while the publisher is away, as it is when all start at once.

        It waits, in order, for :meth:`flush`. The oldest of more than 100 is dropped and counted.
        """
        if len(self._waiting) == _MAX_WAITING:
            self.lost_events[self._waiting.popleft().stream] += 1
        self._waiting.append(event)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as that is possible now."""
        while self._waiting and self.try_send(self._waiting[0]):
            self._waiting.popleft()

    def close(self) -> None:
        """Close the socket; what is queued has 200 ms to leave."""
        self._socket.close()
        self._context.term()
