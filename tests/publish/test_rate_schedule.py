"""A limited rate is kept at any rate of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamseg.protocol.topics import RATES_HZ
from streamseg.publish.rate_schedule import RateSchedule

SECOND = 1_000_000_000


@pytest.mark.parametrize("rate", RATES_HZ)
@pytest.mark.parametrize("fps", [1.0, 7.0, 24.0, 25.0, 29.97, 30.0, 60.0])
def test_the_number_of_frames_follows_the_rate(rate: float, fps: float) -> None:
    schedule = RateSchedule()
    seconds = 60
    sent = sum(bool(schedule.take_due([rate], round(n * SECOND / fps))) for n in range(round(seconds * fps)))
    assert sent == pytest.approx(seconds * min(rate, fps), rel=0.03, abs=1.5)


@given(st.lists(st.floats(0.001, 0.2), min_size=50, max_size=200), st.sampled_from(RATES_HZ))
def test_never_more_than_the_rate(gaps: list[float], rate: float) -> None:
    schedule, now, sent = RateSchedule(), 0, []
    for gap in gaps:
        now += round(gap * SECOND)
        if schedule.take_due([rate], now):
            sent.append(now)
    if len(sent) > 1:
        assert len(sent) <= (sent[-1] - sent[0]) / SECOND * rate + 2


def test_a_pause_is_not_made_up_for() -> None:
    schedule = RateSchedule()
    assert schedule.take_due([5.0], 0) == [5.0]
    after = [schedule.take_due([5.0], 100 * SECOND + n * SECOND // 100) != [] for n in range(100)]
    assert sum(after) <= 6


def test_rates_are_independent_and_forgotten_without_subscribers() -> None:
    schedule = RateSchedule()
    assert schedule.take_due([0.2, 10.0], 0) == [0.2, 10.0]
    assert schedule.take_due([0.2, 10.0], SECOND) == [10.0]
    assert schedule.take_due([10.0], 2 * SECOND) == [10.0]
    assert schedule.take_due([0.2, 10.0], 2 * SECOND + 1) == [0.2]
