"""A simulated consumer: the clock moves by what processing and waiting take."""

from __future__ import annotations

import pytest

from streamseg.client.adaptive_rate import AdaptiveRate
from streamseg.errors import ConfigError
from streamseg.protocol.topics import RATES_HZ


class Consumer:
    def __init__(self, low: float | None, high: float | None, *, fps: float = 30.0, streams: int = 1) -> None:
        self.now_s = 100.0
        self.fps, self.streams = fps, streams
        self.rate = AdaptiveRate(low, high, lambda: self.now_s)
        self.changes: list[float | None] = []

    def run(self, seconds: float, cost_s: float, *, lost: int = 0) -> float | None:
        """Process frames for a while, each as fast as it comes; return the rate afterwards."""
        end_s, number = self.now_s + seconds, 0
        next_s = self.now_s
        while self.now_s < end_s:
            if self.rate.asked():
                self.changes.append(self.rate.rate_hz)
            self.now_s = max(self.now_s, next_s)
            self.rate.delivered(f"cam{number % self.streams}", "masks", lost)
            number += 1
            next_s += 1 / (min(self.rate.rate_hz or self.fps, self.fps) * self.streams)
            next_s = max(next_s, self.now_s)
            self.now_s += cost_s
        return self.rate.rate_hz


@pytest.mark.parametrize(
    ("high", "expected"), [(0.2, 0.2), (0.9, 0.5), (5.0, 5.0), (7.9, 5.0), (30.0, 30.0), (1000.0, 30.0)]
)
def test_a_maximum_alone_is_fixed(high: float, expected: float) -> None:
    consumer = Consumer(None, high)
    assert consumer.rate.rate_hz == expected
    assert consumer.run(60, 0.5) == expected


@pytest.mark.parametrize(
    ("cost_s", "streams", "expected"),
    [(0.001, 1, None), (0.05, 1, 15.0), (0.1, 1, 8.0), (0.3, 1, 2.0), (10.0, 1, 1.0), (0.05, 4, 3.0)],
)
def test_a_slow_consumer_gets_what_it_can_process(cost_s: float, streams: int, expected: float | None) -> None:
    consumer = Consumer(1.0, None, streams=streams)
    assert consumer.rate.rate_hz is None
    assert consumer.run(120, cost_s) == expected
    assert len(consumer.changes) <= 3


def test_it_rises_again() -> None:
    consumer = Consumer(0.5, 20.0)
    assert consumer.run(60, 0.35) == 2.0
    assert consumer.run(60, 0.002) == 20.0
    assert consumer.run(60, 0.35) == 2.0


def test_it_does_not_swing() -> None:
    consumer = Consumer(0.2, None)
    for cost_s in (0.045, 0.055, 0.05, 0.048, 0.052) * 8:
        consumer.run(5, cost_s)
    assert len(consumer.changes) <= 4


def test_losses_on_the_way_lower_the_rate_for_a_while() -> None:
    consumer = Consumer(1.0, 20.0)
    assert consumer.run(6, 0.001, lost=1) < 20.0  # type: ignore[operator]
    low = consumer.rate.rate_hz
    assert consumer.run(10, 0.001) <= low
    assert consumer.run(60, 0.001) == 20.0


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.1, None, "min_rate_hz: 0.1"),
        (None, 0.0, "max_rate_hz: 0.0"),
        (None, -5.0, "-5"),
        (10.0, 5.0, "above max_rate_hz"),
        (float("nan"), None, "nan"),
    ],
)
def test_impossible_limits(low: float | None, high: float | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdaptiveRate(low, high)


def test_limits_between_two_rates() -> None:
    rate = AdaptiveRate(6.0, 7.0)
    assert rate.rate_hz in RATES_HZ
    assert rate.rate_hz <= 7.0
