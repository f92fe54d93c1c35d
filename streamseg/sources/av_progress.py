"""Tracks how far a video was read, and what is missing at its end compared to what the container announced."""

from __future__ import annotations

from typing import Any, Final

_MAX_SHORT_S: Final = 1.0
"""A file whose last picture is this long before its announced end is truncated."""

_MAX_REST: Final = 4_000_000
"""If more bytes follow a transport stream's last packet, they are not just sound but another video stream."""


class ReadProgress:
    """The packets of one video stream that were read.

    Args:
        container: PyAV's container.
        stream: Its video stream.

    Attributes:
        packets: Number of packets with data.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.packets = 0
        self._container = container
        self._stream = stream
        self._end_s = self._shift_s = 0.0
        self._last_byte = 0

    def note(self, packet: Any) -> None:
        """Count a packet with data."""
        self.packets += 1
        self._last_byte = max(self._last_byte, packet.pos or 0)
        if packet.pts is None or packet.time_base is None:
            return
        start_s = float(packet.pts * packet.time_base) + self._shift_s
        if start_s < self._end_s - _MAX_SHORT_S:  # its time stamps start over: two joined recordings
            self._shift_s += self._end_s - start_s
            start_s = self._end_s
        self._end_s = max(self._end_s, start_s + float((packet.duration or 0) * packet.time_base))

    def missing(self, max_short_s: float = _MAX_SHORT_S) -> str:
        """Return what is missing at the end, as readable text; empty if nothing is.

        Args:
            max_short_s: How long before its announced end a video may end.
        """
        if self._stream.frames > self.packets:
            return f"{self.packets} of {self._stream.frames} packets"
        rest = self._container.size - self._last_byte
        if self._container.format.name == "mpegts" and self._last_byte and rest > _MAX_REST:
            return f"its last {rest / 1e6:.1f} MB hold nothing of this video stream"
        duration_us = self._container.duration
        if self._stream.frames or not duration_us or not self._end_s:
            return ""
        start_s = (self._container.start_time or 0) / 1e6
        short_s = duration_us / 1e6 - (self._end_s - start_s)
        return f"its last {short_s:.1f} s are missing" if short_s > max_short_s else ""
