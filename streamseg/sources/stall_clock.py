"""Measures how long a source has been silent, from the times at which FFmpeg returns packets."""

from __future__ import annotations

import math


class StallClock:
    """Measures silence. Pure: the caller passes the time, in seconds of one monotonic clock.

    For codecs that need parsing (H.264, H.265) FFmpeg's RTSP demuxer holds a packet back until the next one starts,
    and returns it at the first read timeout. So a stopped server shows only at the second timeout in a row, which is
    why the read timeout must be half the stall timeout; and a packet that arrives at a timeout is not a sign of life.

    Args:
        now: Current time.
        stall_timeout_s: Longest silence.
        flush_after_s: The read timeout at which a held packet is returned; infinite if none is ever held.
    """

    def __init__(self, now: float, stall_timeout_s: float, flush_after_s: float = math.inf) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._flush_after_s = flush_after_s
        self._heard_at = now
        self._holds_packet = False

    def packet(self, asked: float, now: float) -> None:
        """Record a packet that was requested at ``asked`` and arrived now."""
        flushed = now - asked >= 0.95 * self._flush_after_s
        # A held packet had arrived before the request. Any other arrived at some time since (a slow camera): assume
        # the latest.
        self._heard_at = asked if flushed and self._holds_packet else now
        self._holds_packet = not flushed

    def timed_out(self) -> None:
        """Record a read timeout without a packet: none is held."""
        self._holds_packet = False

    def stalled(self, now: float) -> bool:
        """Whether the source was silent for the stall timeout."""
        return now - self._heard_at >= 0.95 * self._stall_timeout_s
