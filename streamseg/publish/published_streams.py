"""The streams that the publisher serves: opened and closed at runtime."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from dataclasses import dataclass, field
from typing import Final

from streamseg.protocol.published import Encoding
from streamseg.publish.rate_schedule import RateSchedule
from streamseg.publish.status import StreamStatus
from streamseg.publish.stream_encoder import Origin, StreamEncoder
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader

_MAX_CLOSED: Final = 256
"""Closed streams whose message numbers are kept, in case they are opened again."""
_MAX_PICTURES: Final = 2
"""Slots that it may hold of each ring: one picture is being encoded while the next one waits."""


@dataclass(slots=True)
class PublishedStream:
    """One stream.

    Attributes:
        encoder: Makes its messages.
        status: Gathers its status.
        ring: Its frames.
        reader: The publisher's reader of the ring.
        takes_pictures: Whether the worker shares frames with the publisher.
        schedule: Decides which frames the topics of a limited rate get.
    """

    encoder: StreamEncoder
    status: StreamStatus
    ring: FrameRing
    reader: RingReader
    takes_pictures: bool = False
    schedule: RateSchedule = field(default_factory=RateSchedule)

    def take_pictures(self, wanted: bool) -> None:
        """Ask the worker to share frames, or to stop."""
        if wanted != self.takes_pictures:
            self.reader.accept(_MAX_PICTURES if wanted else 0)
            self.takes_pictures = wanted

    def adopt(self, slot: int, frame_id: int) -> HeldFrame | None:
        """Return the shared frame; None if it is not shared (any more)."""
        return self.reader.adopt(slot, frame_id) if slot >= 0 else None


class PublishedStreams:
    """Streams by id. Within a session, a stream's message numbers only rise, even if it is closed and reopened.

    Args:
        origin: Identity of the publisher.
        encoding: Encoding of masks.
    """

    def __init__(self, origin: Origin, encoding: Encoding) -> None:
        self._origin = origin
        self._encoding: Encoding = encoding
        self._open: dict[str, PublishedStream] = {}
        self._closed: dict[str, StreamEncoder] = {}

    def __contains__(self, stream: str) -> bool:
        """Whether a stream is open."""
        return stream in self._open

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the open streams."""
        return iter(self._open)

    def __getitem__(self, stream: str) -> PublishedStream:
        """Return an open stream."""
        return self._open[stream]

    def items(self) -> ItemsView[str, PublishedStream]:
        """Return ids and streams."""
        return self._open.items()

    def values(self) -> ValuesView[PublishedStream]:
        """Return the streams."""
        return self._open.values()

    def open(self, stream: str, source: str, ring: FrameRing) -> None:
        """Open a stream.

        Args:
            stream: Its id.
            source: Address of its source, without credentials.
            ring: Its frames.
        """
        encoder = self._closed.pop(stream, None) or StreamEncoder(stream, self._origin, self._encoding)
        status = StreamStatus(stream, source, ring, self._origin)
        self._open[stream] = PublishedStream(encoder, status, ring, ring.reader("publisher"))

    def close(self, stream: str) -> None:
        """Close a stream and its ring."""
        closed = self._open.pop(stream)
        closed.ring.close()
        self._closed[stream] = closed.encoder
        if len(self._closed) > _MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
