import pytest

from streamseg.capture.process import RECONNECT
from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.daemon.child import RESTART


def waits(backoff: Backoff, count: int, *, slow: bool = False) -> list[float]:
    return [backoff.next_wait_s(slow=slow) for _ in range(count)]


def within(wait_s: float, nominal_s: float) -> bool:
    return nominal_s * 0.75 <= wait_s <= min(nominal_s * 1.25, 60)


@pytest.mark.parametrize("seed", range(20))
def test_one_quick_retry_then_ever_longer_up_to_a_minute(seed: int) -> None:
    nominal = [0.25, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    for wait_s, nominal_s in zip(waits(Backoff(RECONNECT, seed), 10), nominal, strict=True):
        assert within(wait_s, nominal_s)


def test_a_server_that_refuses_is_not_retried_at_once() -> None:
    for wait_s, nominal_s in zip(waits(Backoff(RECONNECT, 1), 4, slow=True), [15, 30, 60, 60], strict=True):
        assert within(wait_s, nominal_s)


def test_waits_stay_bounded_after_months_of_failures() -> None:
    assert all(0 < wait_s <= 60 for wait_s in waits(Backoff(RECONNECT, 2), 100_000))


def test_a_healthy_connection_resets_it() -> None:
    backoff = Backoff(RECONNECT, 3)
    waits(backoff, 5)
    backoff.succeeded(RECONNECT.healthy_s)
    assert within(backoff.next_wait_s(), 0.25)


def test_a_short_connection_does_not_reset_it() -> None:
    backoff = Backoff(RECONNECT, 4)
    waits(backoff, 5)
    backoff.succeeded(RECONNECT.healthy_s / 2)
    assert within(backoff.next_wait_s(), 16)


def test_streams_do_not_come_back_all_at_once() -> None:
    assert len({waits(Backoff(RECONNECT), 3)[2] for _ in range(20)}) > 10


def test_a_process_restarts_with_growing_delays_up_to_half_a_minute() -> None:
    assert waits(Backoff(RESTART), 8) == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_without_jitter_and_quick_retry() -> None:
    backoff = Backoff(BackoffPolicy(first_s=3, max_s=10, healthy_s=1))
    assert waits(backoff, 3) == [3, 6, 10]
    backoff.succeeded(1)
    assert waits(backoff, 1) == [3]
