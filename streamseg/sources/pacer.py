"""Release frames at the rate of their presentation timestamps."""

from __future__ import annotations

import time
from typing import Final

MAX_WAIT_S: Final = 10.0
"""A longer gap between two frames is a jump of the timestamps, not a pause to wait for."""

_SLACK_S: Final = 0.1


class Pacer:
    """Waits before each frame so that frames come at their own rate, never faster.

    A slower reader delays all later frames; short delays (0.1 s) are caught up.

    Args:
        interval_s: Interval between frames until their timestamps show it.
        catch_up: Release late frames at once, however late, so that a live source that arrives in bursts (HLS) keeps
            its delay instead of falling behind.
    """

    def __init__(self, interval_s: float, *, catch_up: bool = False) -> None:
        self._interval_s = interval_s
        self._catch_up = catch_up
        self._last_s: float | None = None
        self._due: float | None = None

    def wait(self, time_s: float | None) -> None:
        """Wait until the frame with presentation time ``time_s`` (None if unknown) is due.

        Blocks: at most ``MAX_WAIT_S``.
        """
        now = time.monotonic()
        if self._due is None:
            self._due = now
        else:
            self._due += self._step(time_s)
            if self._due > now:
                time.sleep(min(self._due - now, MAX_WAIT_S))
            elif now - self._due > _SLACK_S and not self._catch_up:
                self._due = now
        self._last_s = time_s

    def _step(self, time_s: float | None) -> float:
        if time_s is not None and self._last_s is not None:
            step = time_s - self._last_s
            if 0 < step <= MAX_WAIT_S:
                self._interval_s = step
        return self._interval_s
