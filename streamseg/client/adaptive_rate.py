"""Adapts the requested frame rate to what a consumer can process, between two limits. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from streamseg.errors import ConfigError
from streamseg.protocol.topics import RATES_HZ

_WINDOW_S: Final = 2.0
_MIN_RESULTS: Final = 3
_BUSY: Final = 0.8
"""Share of the time that a consumer may spend on processing; a rate that needs more is lowered."""
_BUSY_AFTER_RISE: Final = 0.65
_FULL_RATE_HZ: Final = 60.0
"""Rate assumed for "every frame"."""
_LOSSES: Final = 0.1
"""If at least this share of messages is lost on the way, the network is too slow, not the consumer."""
_PAUSE_AFTER_LOSSES_S: Final = 30.0


class AdaptiveRate:
    """Measures how long the consumer takes for each result, and chooses among the daemon's rates.

    Args:
        min_rate_hz: Lowest rate; None: the rate does not adapt.
        max_rate_hz: Highest rate; None: every frame.
        now_s: The monotonic clock.

    Attributes:
        rate_hz: The current rate; None: every frame.

    Raises:
        ConfigError: A limit is out of range, or no rate lies between the limits.
    """

    def __init__(
        self, min_rate_hz: float | None, max_rate_hz: float | None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps = _steps(min_rate_hz, max_rate_hz)
        self._now_s = now_s
        self.rate_hz: float | None = self._steps[-1]
        self._window_from_s = now_s()
        self._delivered_s: float | None = None
        self._busy_s = 0.0
        self._results = self._lost = 0
        self._topics: set[tuple[str, str]] = set()
        self._may_rise_s = 0.0
        self._rises = 0

    def delivered(self, stream: str, kind: str, lost: int) -> None:
        """Note that the consumer got a result for a frame, and that ``lost`` messages before it were lost."""
        self._delivered_s = self._now_s()
        self._results += 1
        self._lost += lost
        self._topics.add((stream, kind))

    def asked(self) -> bool:
        """Note that the consumer requests the next result; return whether :attr:`rate_hz` has changed."""
        now_s = self._now_s()
        if self._delivered_s is not None:
            self._busy_s += now_s - self._delivered_s
            self._delivered_s = None
        if now_s - self._window_from_s < _WINDOW_S or self._results < _MIN_RESULTS:
            return False
        before, self.rate_hz = self.rate_hz, self._choose(now_s)
        self._window_from_s, self._busy_s, self._results, self._lost = now_s, 0.0, 0, 0
        self._topics.clear()
        return self.rate_hz != before

    def _choose(self, now_s: float) -> float | None:
        cost_s = self._busy_s / self._results * len(self._topics)  # for one frame of all streams
        here = self._steps.index(self.rate_hz)
        if self._lost > _LOSSES * (self._results + self._lost):
            self._may_rise_s = now_s + _PAUSE_AFTER_LOSSES_S
            return self._steps[max(0, here - 1)]
        can = self._highest(_BUSY / cost_s if cost_s else _FULL_RATE_HZ)
        if can < here:
            self._rises = 0
            return self._steps[can]
        rise = self._highest(_BUSY_AFTER_RISE / cost_s if cost_s else _FULL_RATE_HZ)
        self._rises = self._rises + 1 if rise > here and now_s >= self._may_rise_s else 0
        if self._rises < 2:  # one quick window may be chance
            return self.rate_hz
        self._rises = 0
        return self._steps[rise]

    def _highest(self, rate_hz: float) -> int:
        """Return the index of the highest step that does not exceed a rate; 0 if there is none."""
        fitting = [index for index, step in enumerate(self._steps) if (step or _FULL_RATE_HZ) <= rate_hz]
        return max(fitting, default=0)


def _steps(min_rate_hz: float | None, max_rate_hz: float | None) -> list[float | None]:
    for name, rate in (("min_rate_hz", min_rate_hz), ("max_rate_hz", max_rate_hz)):
        if rate is not None and not RATES_HZ[0] <= rate:
            raise ConfigError(f"{name}: {rate!r} is too low: the lowest rate is {RATES_HZ[0]:g}")
    if min_rate_hz is not None and max_rate_hz is not None and min_rate_hz > max_rate_hz:
        raise ConfigError(f"min_rate_hz is {min_rate_hz:g}, above max_rate_hz, {max_rate_hz:g}: exchange them")
    low, high = min_rate_hz or RATES_HZ[0], max_rate_hz or RATES_HZ[-1]
    steps: list[float | None] = [rate for rate in RATES_HZ if low <= rate <= high]
    if not steps:
        raise ConfigError(_no_rate(low, max_rate_hz))
    if max_rate_hz is None:
        steps.append(None)
    return steps if min_rate_hz is not None else steps[-1:]


def _no_rate(low: float, max_rate_hz: float | None) -> str:
    possible = f"the possible rates are {', '.join(f'{rate:g}' for rate in RATES_HZ)}"
    if low > RATES_HZ[-1]:
        return f"min_rate_hz: {low:g} is too high: {possible}; leave out both limits to get every frame"
    return (
        f"min_rate_hz {low:g} and max_rate_hz {max_rate_hz:g} have no rate between them: {possible}; lower min_rate_hz "
        "or raise max_rate_hz to one of them"
    )
