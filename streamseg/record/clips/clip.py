"""One clip while it is being written."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from streamseg.client.jpeg import decode_jpeg
from streamseg.common.draw import Picture, draw_masks
from streamseg.common.video_writer import VideoWriter
from streamseg.errors import ProtocolError
from streamseg.record.clips.ring import Kept
from streamseg.record.clips.trigger import Trigger

log = logging.getLogger(__name__)

_MAX_S: Final = 600.0
_SILENT_NS: Final = 5_000_000_000


class Clip:
    """Writes the pictures around an event to a file, one at each call of :meth:`write_next`.

    Args:
        path: The file, which appears when it is complete.
        trigger: What started it.
        before: Pictures from before the trigger.
        after_s: How long it goes on after the last trigger.
        overlay: Whether to draw the masks.

    Attributes:
        path: As given.
        trigger: As given.
        ended: Whether it takes no more pictures; waiting ones are still written.
        waiting_bytes: Size of the pictures waiting to be written.
        written: Pictures written.
        dropped: Pictures that could not be decoded, or not be written in time.

    Raises:
        StreamsegError: The file cannot be written.
    """

    def __init__(self, path: Path, trigger: Trigger, before: Iterable[Kept], *, after_s: float, overlay: bool) -> None:
        self.path = path
        self.trigger = trigger
        self.written = self.dropped = 0
        self._overlay = overlay
        self._after_ns = int(after_s * 1e9)
        self._until_ns = trigger.t_ns + self._after_ns
        self._latest_ns = trigger.t_ns + int(_MAX_S * 1e9)
        self.ended = False
        self._waiting: deque[Kept] = deque()
        self.waiting_bytes = 0
        self._writer = VideoWriter(path, threads=1, metadata=trigger.metadata())
        for kept in before:
            self.add(kept)

    def extend(self, t_ns: int) -> None:
        """Go on for longer because of another event, up to ten minutes in all."""
        self._until_ns = min(max(self._until_ns, t_ns + self._after_ns), self._latest_ns)

    def add(self, kept: Kept) -> None:
        """Take a picture to be written, or end with the last one that belongs to the clip."""
        if kept.t_ns > self._until_ns:
            self.ended = True
        if self.ended:
            return
        self._waiting.append(kept)
        self.waiting_bytes += kept.nbytes

    def drop_oldest(self) -> None:
        """Drop the oldest waiting picture."""
        self.waiting_bytes -= self._waiting.popleft().nbytes
        self.dropped += 1

    def end_now(self) -> None:
        """End now, without the waiting pictures."""
        self.ended = True
        while self._waiting:
            self.drop_oldest()

    def end_if_silent(self, now_ns: int) -> None:
        """End if pictures have stopped coming: the camera is offline."""
        self.ended = self.ended or now_ns > self._until_ns + _SILENT_NS

    def write_next(self) -> bool:
        """Write the oldest waiting picture; return whether the clip is complete.

        Raises:
            StreamsegError: The file cannot be written.
        """
        if self._waiting:
            kept = self._waiting.popleft()
            self.waiting_bytes -= kept.nbytes
            try:
                picture = _picture(kept, self._overlay)
            except ProtocolError as error:
                log.warning("a picture of %s is left out: %s", self.trigger.stream, error)
                self.dropped += 1
            else:
                self._writer.add(picture, kept.t_ns / 1e9)
                self.written += 1
        return self.ended and not self._waiting

    @property
    def busy(self) -> bool:
        """Whether pictures wait to be written."""
        return bool(self._waiting)

    def close(self) -> None:
        """Complete the file; without a picture, there is no file.

        Raises:
            StreamsegError: The file cannot be written.
        """
        self._writer.close()

    def abandon(self) -> None:
        """Remove what has been written."""
        self._writer.abandon()


def _picture(kept: Kept, overlay: bool) -> Picture:
    """Decode a picture and draw its masks, without keeping the decoded data in ``kept``."""
    rgb = decode_jpeg(kept.pair.image.jpeg, kept.pair.image.size)
    if not overlay:
        return rgb
    rgb = np.ascontiguousarray(rgb)
    return draw_masks(rgb, [msgspec.structs.replace(obj) for obj in kept.pair.masks.objects], out=rgb)
