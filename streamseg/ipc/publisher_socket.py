"""The sending end of the socket to the publisher, used by all other processes."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import zmq

from streamseg.ipc.messages import InternalMessage, StreamEvent, encode
from streamseg.protocol.topics import INTERNAL_HWM

_MAX_WAITING: Final = 100


class PublisherSocket:
    """Sends internal messages to the publisher. Used by one thread.

    Nothing is queued while the publisher is down (``ZMQ_IMMEDIATE``): after its restart, subscribers get new masks
    rather than a backlog.

    Args:
        endpoint: Where the publisher binds its PULL socket.

    Attributes:
        lost_events: Stream -> events dropped because too many were waiting: drops of stage ``event``, reason
            ``publisher_away``.
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

        Blocks: up to ``timeout_s`` while the queue is full or the publisher is down.

        Returns:
            False if it could not be sent; the caller counts the drop.
        """
        if timeout_s > 0 and not self._socket.poll(int(timeout_s * 1000), zmq.POLLOUT):
            return False
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def send_reliable(self, event: StreamEvent) -> None:
        """Send an event, or keep it until the publisher is up, as when all processes start at once.

        Waiting events are sent in order by :meth:`flush`. The oldest of more than 100 is dropped and counted.
        """
        if len(self._waiting) == _MAX_WAITING:
            self.lost_events[self._waiting.popleft().stream] += 1
        self._waiting.append(event)
        self.flush()

    def flush(self) -> None:
        """Send waiting events until the socket would block."""
        while self._waiting and self.try_send(self._waiting[0]):
            self._waiting.popleft()

    def close(self) -> None:
        """Close the socket. Queued messages have 200 ms to be sent."""
        self._socket.close()
        self._context.term()
