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


def test_the_rate_rises_again() -> None:
    consumer = Consumer(0.5, 20.0)
    assert consumer.run(60, 0.35) == 2.0
    assert consumer.run(60, 0.002) == 20.0
    assert consumer.run(60, 0.35) == 2.0


def test_the_rate_does_not_oscillate() -> None:
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
        (
            22.0,
            24.0,
            "22 and max_rate_hz 24 have no rate between them: the possible rates are 0.2, .* 20, 25",
        ),
        (16.0, 19.0, "min_rate_hz 16 and max_rate_hz 19 have no rate between them"),
        (6.0, 7.0, "no rate between them"),
        (31.0, None, "min_rate_hz: 31 is too high"),
        (40.0, 50.0, "min_rate_hz: 40 is too high"),
    ],
)
def test_impossible_limits_are_refused(low: float | None, high: float | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdaptiveRate(low, high)


@pytest.mark.parametrize("low", [0.2, 0.3, 6.0, 19.0, 20.0, 30.0])
@pytest.mark.parametrize("high", [20.0, 24.0, 30.0, 100.0])
@pytest.mark.parametrize("cost_s", [0.0, 0.001, 10.0])
def test_the_rate_stays_inside_the_limits(low: float, high: float, cost_s: float) -> None:
    if low > high:
        return
    consumer = Consumer(low, high)
    for _ in range(5):
        assert low <= consumer.rate.rate_hz <= high  # type: ignore[operator]
        consumer.run(3, cost_s)
    assert consumer.rate.rate_hz in RATES_HZ
