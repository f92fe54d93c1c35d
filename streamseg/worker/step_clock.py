"""Measures how long the worker's steps take, from which the supervisor derives when a silent worker is hung."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0


class StepClock:
    """Remembers the slowest step of the last one to two minutes, and the last step of the warm-up.

    Args:
        clock: Returns seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warm_up_s = self._lap_s = 0.0
        self._before_s = self._now_s = 0.0
        self._began_at = clock()
        self._window_at = self._began_at

    def begin(self) -> None:
        """Begin a step."""
        self._began_at = self._clock()

    def lap(self) -> None:
        """End a step, or a part of it that ends with a report to the supervisor, and begin the next one."""
        now = self._clock()
        if now - self._window_at > WINDOW_S:
            self._before_s, self._now_s = self._now_s, 0.0
            self._window_at = now
        self._lap_s = now - self._began_at
        self._now_s = max(self._now_s, self._lap_s)
        self._began_at = now

    def warmed_up(self) -> None:
        """Forget the steps of the warm-up except the last one, which counts for as long as the worker runs."""
        self._warm_up_s, self._now_s = self._lap_s, 0.0

    @property
    def slowest_s(self) -> float:
        """Seconds that the slowest recent step took."""
        return max(self._warm_up_s, self._before_s, self._now_s)
