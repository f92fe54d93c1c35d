"""Measures whether the worker keeps up with a camera, and decides what ``overload`` does if it does not.

``lower_rate`` does nothing here: the ring drops frames that are not tracked in time. ``oldest_objects`` suspends the
newest objects one by one until the worker keeps up, and resumes them when there is time. ``smaller_input`` has one
step: the model sees a smaller picture of the stream.
"""

from __future__ import annotations

from typing import Final, Literal

PERIOD_S: Final = 2.0
_MIN_FRAMES: Final = 4
"""Minimum number of frames in a period for a meaningful share."""
_TOO_MUCH: Final = 0.2
"""The worker is overloaded if it drops more than this share of the frames in two periods."""
_LITTLE: Final = 0.05
"""It keeps up if it drops less than this share in two periods."""
_HOLD_S: Final = 10.0
"""How long the worker must keep up before a step is undone. Doubles each time that was too early."""
_MAX_HOLD_S: Final = 320.0

Relief = Literal["less", "more"]


class OverloadMeter:
    """Measures one stream.

    Attributes:
        share: Share of the last period's frames that were dropped.
        overloaded: The worker does not keep up.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.overloaded = False
        self._measured: tuple[float, int, int] | None = None
        self._periods = 0
        self._calm_since = 0.0
        self._hold_s = _HOLD_S
        self._more_at: float | None = None

    def update(self, now_s: float, *, frames: int, dropped: int, can_do_less: bool, can_do_more: bool) -> Relief | None:
        """Take the counters of the stream's ring, and return the step that the policy should take.

        Args:
            now_s: Now.
            frames: Frames captured so far.
            dropped: Frames dropped so far.
            can_do_less: The policy has a step left that reduces the work.
            can_do_more: It has a step to undo.
        """
        if self._measured is None or frames < self._measured[1]:
            self._measured = now_s, frames, dropped
            self._calm_since = now_s
        began_s, before, lost_before = self._measured
        if now_s - began_s < PERIOD_S:
            return None
        self._measured = now_s, frames, dropped
        came = frames - before
        self.share = (dropped - lost_before) / came if came >= _MIN_FRAMES else 0.0
        self._judge(now_s)
        if came == 0:  # the camera is offline: that does not mean the worker keeps up
            self._calm_since = now_s
        if self.overloaded and self.share > _TOO_MUCH and can_do_less:
            return self._relieve("less", now_s)
        if can_do_more and not self.overloaded and now_s - self._calm_since >= self._hold_s:
            return self._relieve("more", now_s)
        return None

    def _judge(self, now_s: float) -> None:
        against = self.share < _LITTLE if self.overloaded else self.share > _TOO_MUCH
        self._periods = self._periods + 1 if against else 0
        if self._periods >= 2:
            self.overloaded, self._periods = not self.overloaded, 0
            self._calm_since = now_s
            if self.overloaded and self._more_at is not None:
                soon = now_s - self._more_at < 2 * self._hold_s
                self._hold_s = min(2 * self._hold_s, _MAX_HOLD_S) if soon else _HOLD_S
                self._more_at = None

    def _relieve(self, relief: Relief, now_s: float) -> Relief:
        """Restart the measurement, since the cost of tracking changes."""
        self._measured = None
        self._periods = 0
        self._calm_since = now_s
        if relief == "more":
            self._more_at = now_s
        return relief
