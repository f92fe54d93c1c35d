from __future__ import annotations

import pytest

from streamseg.sources import pacer
from streamseg.sources.pacer import MAX_WAIT_S, Pacer
from tests.sources.simulated_clock import SimulatedClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    simulated = SimulatedClock()
    monkeypatch.setattr(pacer, "time", simulated)
    return simulated


def elapsed(clock: SimulatedClock, pacer: Pacer, *times: float | None) -> object:
    started = clock.now_s
    for time_s in times:
        pacer.wait(time_s)
    return pytest.approx(clock.now_s - started)  # equal but for rounding


def test_frames_are_never_released_before_their_time(clock: SimulatedClock) -> None:
    assert elapsed(clock, Pacer(1.0), 5.0, 5.1, 5.2, 5.3) == 0.3


def test_unknown_stamps_go_by_the_interval_known_last(clock: SimulatedClock) -> None:
    assert elapsed(clock, Pacer(0.05), None, None, None) == 0.1
    assert elapsed(clock, Pacer(5.0), 0.0, 0.05, None, None) == 0.15


def test_a_seam_goes_by_the_interval_known_last(clock: SimulatedClock) -> None:
    assert elapsed(clock, Pacer(5.0), 7.0, 7.1, 0.0, 0.1) == 0.3


def test_a_jump_of_the_stamps_is_not_waited_for(clock: SimulatedClock) -> None:
    assert elapsed(clock, Pacer(0.01), 0.0, 2 * MAX_WAIT_S) == 0.01


@pytest.mark.parametrize(("catch_up", "waits_s"), [(False, 0.4), (True, 0.0)])
def test_after_a_slow_reader_late_frames_are_caught_up_only_if_asked(
    clock: SimulatedClock, catch_up: bool, waits_s: float
) -> None:
    pacer = Pacer(0.2, catch_up=catch_up)
    pacer.wait(0.0)
    clock.sleep(1.0)  # the reader is busy
    # Caught up: all three are due. Otherwise the late one comes at once, and the others at their rate.
    assert elapsed(clock, pacer, 0.2, 0.4, 0.6) == waits_s


def test_a_short_delay_is_caught_up(clock: SimulatedClock) -> None:
    pacer = Pacer(0.2)
    pacer.wait(0.0)
    clock.sleep(0.25)
    assert elapsed(clock, pacer, 0.2, 0.4) == 0.15
