"""Messages that wait for delivery: the newest of each stream, all in order, or pairs of picture and masks."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final, Generic, Protocol, TypeVar

from streamseg.client.results import EventMessage, FrameMessage, FramePair, ImageFrame, MaskFrame, Message

T = TypeVar("T")
Result_co = TypeVar("Result_co", covariant=True)

_MAX_EVENTS: Final = 1000
_MAX_UNPAIRED: Final = 32


class Inbox(Protocol[Result_co]):
    """Holds messages between the socket and the caller. Bounded."""

    def put(self, message: Message) -> None:
        """Add a received message."""
        ...

    def take(self) -> Result_co | None:
        """Return the next result to deliver, if any."""
        ...

    def wants_more(self) -> bool:
        """Return whether to read more from the socket before the next delivery."""
        ...


class AllInbox:
    """All messages in order. Reads one at a time from the socket: the queue is ZeroMQ's, which is bounded.

    Args:
        sheds_backlog: Whether a reader that is far behind loses its backlog.

    Attributes:
        sheds_backlog: As given.
    """

    def __init__(self, *, sheds_backlog: bool = True) -> None:
        self.sheds_backlog = sheds_backlog
        self._waiting: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """Add a received message."""
        self._waiting.append(message)

    def take(self) -> Message | None:
        """Return the oldest message."""
        return self._waiting.popleft() if self._waiting else None

    def wants_more(self) -> bool:
        """Return True while it is empty."""
        return not self._waiting


class LatestInbox:
    """The newest message of each stream and kind, and every event."""

    def __init__(self) -> None:
        self._events: deque[EventMessage] = deque()
        self._newest: dict[tuple[str, str], Message] = {}

    def put(self, message: Message) -> None:
        """Add a received message. It counts the message it replaces."""
        if isinstance(message, EventMessage):
            self._put_event(message)
            return
        key = (message.stream, message.kind)
        old = self._newest.get(key)
        # The key keeps its position, so that a fast stream cannot starve a slow one.
        self._newest[key] = message if old is None else _superseding(message, old)

    def _put_event(self, event: EventMessage) -> None:
        self._events.append(event)
        if len(self._events) > _MAX_EVENTS:
            lost = self._events.popleft()
            self._events[0] = replace(self._events[0], gap=self._events[0].gap + lost.gap + 1)

    def take(self) -> Message | None:
        """Return the oldest event, else the newest message of the next stream and kind."""
        if self._events:
            return self._events.popleft()
        if self._newest:
            return self._newest.pop(next(iter(self._newest)))
        return None

    def wants_more(self) -> bool:
        """Return True: the newest message is known only when the socket is empty."""
        return True


def _superseding(message: Message, old: Message) -> Message:
    gap = message.gap + old.gap
    if isinstance(message, FrameMessage) and isinstance(old, FrameMessage):
        skipped = message.skipped + old.skipped
        return replace(message, gap=gap, skipped=skipped, superseded=old.superseded + 1)
    return replace(message, gap=gap)


class PairInbox:
    """The newest frame of each stream whose picture and masks have both arrived.

    A picture arrives later than its masks, by the time of JPEG encoding. Masks whose picture was dropped never pair.
    """

    def __init__(self) -> None:
        self._masks: dict[str, _Unpaired[MaskFrame]] = {}
        self._images: dict[str, _Unpaired[ImageFrame]] = {}
        self._newest: dict[str, FramePair] = {}

    def put(self, message: Message) -> None:
        """Add a received message."""
        if isinstance(message, MaskFrame):
            image = self._images.setdefault(message.stream, _Unpaired()).match(message)
            if image is None:
                self._masks.setdefault(message.stream, _Unpaired()).add(message)
            else:
                self._newest[message.stream] = FramePair(image, message)
        elif isinstance(message, ImageFrame):
            masks = self._masks.setdefault(message.stream, _Unpaired()).match(message)
            if masks is None:
                self._images.setdefault(message.stream, _Unpaired()).add(message)
            else:
                self._newest[message.stream] = FramePair(message, masks)

    @property
    def ready(self) -> bool:
        """Whether there is a pair to deliver."""
        return bool(self._newest)

    def take(self) -> FramePair | None:
        """Return the newest pair of the next stream."""
        return self._newest.pop(next(iter(self._newest))) if self._newest else None

    def wants_more(self) -> bool:
        """Return True: the newest message is known only when the socket is empty."""
        return True


F = TypeVar("F", MaskFrame, ImageFrame)


class _Unpaired(Generic[F]):
    """Frames of one stream that wait for their counterpart, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[F] = deque(maxlen=_MAX_UNPAIRED)

    def add(self, frame: F) -> None:
        self._waiting.append(frame)

    def match(self, other: FrameMessage) -> F | None:
        """Return the counterpart of ``other``; drop it and all older frames, which can no longer pair."""
        for index, frame in enumerate(self._waiting):
            if (frame.session, frame.frame) == (other.session, other.frame):
                for _ in range(index + 1):
                    self._waiting.popleft()
                return frame
        return None
