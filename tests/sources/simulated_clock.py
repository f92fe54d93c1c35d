"""A clock that only moves when something sleeps; a substitute for ``time``."""

from __future__ import annotations


class SimulatedClock:
    """Has the functions of ``time`` that the pacer uses."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.now_s += seconds
