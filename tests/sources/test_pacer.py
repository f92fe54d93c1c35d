import time

import pytest

from streamseg.sources.pacer import MAX_WAIT_S, Pacer


def elapsed(pacer: Pacer, *times: float | None) -> float:
    started = time.monotonic()
    for time_s in times:
        pacer.wait(time_s)
    return time.monotonic() - started


def test_frames_are_never_released_before_their_time() -> None:
    assert elapsed(Pacer(1.0), 5.0, 5.1, 5.2, 5.3) >= 0.3


def test_unknown_stamps_go_by_the_interval_known_last() -> None:
    assert elapsed(Pacer(0.05), None, None, None) >= 0.1
    assert elapsed(Pacer(5.0), 0.0, 0.05, None, None) >= 0.15


def test_a_seam_goes_by_the_interval_known_last() -> None:
    assert elapsed(Pacer(5.0), 7.0, 7.1, 0.0, 0.1) >= 0.3


def test_a_leap_is_not_waited_for() -> None:
    assert elapsed(Pacer(0.01), 0.0, 2 * MAX_WAIT_S) < MAX_WAIT_S


@pytest.mark.parametrize("catch_up", [False, True])
def test_after_a_slow_reader(catch_up: bool) -> None:
    pacer = Pacer(0.2, catch_up=catch_up)
    pacer.wait(0.0)
    time.sleep(1.0)  # the reader is busy
    started = time.monotonic()
    for index in range(1, 4):
        pacer.wait(index * 0.2)
    took = time.monotonic() - started
    if catch_up:
        assert took < 0.4  # all three were due
    else:
        assert took >= 0.4  # the late one at once, the others at their rate
