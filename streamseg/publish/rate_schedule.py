"""Decides which frames a topic with a limited rate gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_NS: Final = 1_000_000_000


class RateSchedule:
    """Decides for each frame of one stream which rates are due.

    All kinds of a rate get the same frames, so that pictures and masks can be paired.
    """

    def __init__(self) -> None:
        self._next_ns: dict[float, int] = {}

    def take_due(self, rates: Iterable[float], now_ns: int) -> list[float]:
        """Return the rates that get this frame.

        On average a rate gets its number of frames, or all if the stream is slower. A frame that is slightly early
        counts as due, so that a stream of exactly that rate loses none. A pause is not made up for.

        Args:
            rates: Rates with subscribers, in Hz.
            now_ns: The monotonic clock.
        """
        due = []
        next_ns: dict[float, int] = {}
        for rate in rates:
            at, period = self._next_ns.get(rate, now_ns), round(_NS / rate)
            if now_ns >= at - period // 4:
                due.append(rate)
                at = max(at + period, now_ns + period // 2)
            next_ns[rate] = at
        self._next_ns = next_ns
        return due
