"""The inbox of a clip recorder: events in order, and the newest pair of each stream."""

from __future__ import annotations

from collections import deque
from typing import Final

from streamseg.client import EventMessage, FramePair, Message
from streamseg.client.inbox import PairInbox

_MAX_EVENTS: Final = 1000


class ClipInbox:
    """Pictures paired with their masks, and events. Bounded."""

    def __init__(self) -> None:
        self._pairs = PairInbox()
        self._events: deque[EventMessage] = deque(maxlen=_MAX_EVENTS)

    def put(self, message: Message) -> None:
        """Add a received message."""
        if isinstance(message, EventMessage):
            self._events.append(message)
        else:
            self._pairs.put(message)

    def take(self) -> FramePair | EventMessage | None:
        """Return the oldest event, else the newest pair of the next stream."""
        return self._events.popleft() if self._events else self._pairs.take()

    def wants_more(self) -> bool:
        """Return True until there is something: a recorder wants every picture."""
        return not self._events and not self._pairs.ready
