import pytest

from streamseg.capture.backoff import HEALTHY_S, JITTER, LAST_S, Backoff


def waits(backoff: Backoff, count: int, *, slow: bool = False) -> list[float]:
    return [backoff.next_wait_s(slow=slow) for _ in range(count)]


def within(wait_s: float, nominal_s: float) -> bool:
    return nominal_s * (1 - JITTER) <= wait_s <= min(nominal_s * (1 + JITTER), LAST_S)


@pytest.mark.parametrize("seed", range(20))
def test_one_quick_retry_then_ever_longer_up_to_a_minute(seed: int) -> None:
    for wait_s, nominal_s in zip(waits(Backoff(seed), 10), [0.25, 1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert within(wait_s, nominal_s)


def test_a_server_that_says_no_is_not_hurried() -> None:
    for wait_s, nominal_s in zip(waits(Backoff(1), 4, slow=True), [15, 30, 60, 60], strict=True):
        assert within(wait_s, nominal_s)


def test_months_of_failures() -> None:
    assert all(0 < wait_s <= LAST_S for wait_s in waits(Backoff(2), 100_000))


def test_a_healthy_connection_starts_it_anew() -> None:
    backoff = Backoff(3)
    waits(backoff, 5)
    backoff.succeeded(HEALTHY_S)
    assert within(backoff.next_wait_s(), 0.25)


def test_a_short_connection_does_not() -> None:
    backoff = Backoff(4)
    waits(backoff, 5)
    backoff.succeeded(HEALTHY_S / 2)
    assert within(backoff.next_wait_s(), 16)


def test_streams_do_not_come_back_all_at_once() -> None:
    assert len({waits(Backoff(), 3)[2] for _ in range(20)}) > 10
