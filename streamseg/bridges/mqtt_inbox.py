"""The queue of messages from the broker to the bridge's loop. Bounded by number and by bytes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final, NamedTuple

from streamseg.common.repeated_logs import is_logged

log = logging.getLogger(__name__)

_MAX_MESSAGES: Final = 10_000
_MAX_BYTES: Final = 16 * 2**20


class Received(NamedTuple):
    """A message from the broker.

    Attributes:
        topic: Where it was published.
        payload: Its content.
        retained: Whether the broker had retained it.
    """

    topic: str
    payload: bytes
    retained: bool


class BrokerInbox:
    """A queue of messages from one thread to another.

    Attributes:
        lost: Messages that were dropped because too many were waiting.
    """

    def __init__(self) -> None:
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.lost = 0

    def put(self, message: Received) -> None:
        """Add a message, or drop it if too many are waiting."""
        with self._lock:
            if len(self._waiting) < _MAX_MESSAGES and self._bytes + len(message.payload) <= _MAX_BYTES:
                self._waiting.append(message)
                self._bytes += len(message.payload)
                return
            self.lost += 1
            lost = self.lost
        if is_logged(lost):
            log.warning("too many messages from the broker at once: %d are lost", lost)

    def take(self) -> Received | None:
        """Return the oldest message, or None."""
        with self._lock:
            if not self._waiting:
                return None
            message = self._waiting.popleft()
            self._bytes -= len(message.payload)
            return message
