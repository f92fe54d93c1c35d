"""How long a source has been silent, told from when FFmpeg hands out packets."""

from __future__ import annotations

import math


class StallClock:
    """Measures silence. Pure: every method is told the time, in seconds of one monotonic clock.

    An RTSP reader whose codec is parsed (H.264, H.265) holds a packet back until the next one begins, and hands it
    out at the first read time-out. So a server that stopped shows only at the second time-out in a row, which is
    why the read time-out must be half the stall time-out; and a packet that comes at a time-out is not a sign of
    life at that time.

    Args:
        now: The present.
        stall_timeout_s: Longest silence.
        flush_after_s: The read time-out at which a held packet is handed out; infinite if none is ever held.
    """

    def __init__(self, now: float, stall_timeout_s: float, flush_after_s: float = math.inf) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._flush_after_s = flush_after_s
        self._heard_at = now
        self._holds_packet = False

    def packet(self, asked: float, now: float) -> None:
        """Take note of a packet that was asked for at ``asked`` and came now."""
        flushed = now - asked >= 0.95 * self._flush_after_s
        # A packet that was held when we asked had come by then. One that was not came at some time since (a slow
        # camera): the latest is assumed.
        self._heard_at = asked if flushed and self._holds_packet else now
        self._holds_packet = not flushed

    def timed_out(self) -> None:
        """Take note of a read time-out without a packet: none is held."""
        self._holds_packet = False

    def stalled(self, now: float) -> bool:
        """Whether the source was silent for the stall time-out."""
        return now - self._heard_at >= 0.95 * self._stall_timeout_s
