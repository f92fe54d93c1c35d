"""The newest pictures of a stream, as they were received: JPEG, and encoded masks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streamseg.client import FramePair


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture with its masks, all still encoded.

    Attributes:
        pair: As received. Do not read ``image.rgb`` or masks of its objects: the pair would cache the decoded data.
        t_ns: Capture time, by the machine's monotonic clock.
        nbytes: Size of the encoded data.
    """

    pair: FramePair
    t_ns: int
    nbytes: int

    @classmethod
    def of(cls, pair: FramePair) -> Kept:
        """Return a pair with its size."""
        masks = sum(len(obj.data) for obj in pair.masks.objects)
        return cls(pair, pair.masks.t_captured_ns, len(pair.image.jpeg) + masks)


class PictureRing:
    """Keeps the newest pictures of one stream, bounded by time and by bytes.

    Args:
        seconds: Age of the oldest picture relative to the newest.
        max_bytes: Maximum size of all pictures.

    Attributes:
        nbytes: Current size of all pictures.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._keep_ns = int(seconds * 1e9)
        self._max_bytes = max_bytes
        self._kept: deque[Kept] = deque()
        self.nbytes = 0

    def add(self, kept: Kept) -> None:
        """Add a picture, and drop the oldest beyond the limits."""
        if self._kept and kept.t_ns < self._kept[-1].t_ns:  # another clock: the daemon restarted with its machine
            self.clear()
        self._kept.append(kept)
        self.nbytes += kept.nbytes
        while self._kept[0].t_ns < kept.t_ns - self._keep_ns or (self.nbytes > self._max_bytes and len(self._kept) > 1):
            self.nbytes -= self._kept.popleft().nbytes

    def since(self, t_ns: int) -> list[Kept]:
        """Return the pictures captured at a time or later, oldest first."""
        return [kept for kept in self._kept if kept.t_ns >= t_ns]

    def clear(self) -> None:
        """Drop all pictures."""
        self._kept.clear()
        self.nbytes = 0
