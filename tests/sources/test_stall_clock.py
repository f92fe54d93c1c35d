"""The reader of these tests behaves like FFmpeg's RTSP reader."""

import pytest

from streamseg.sources.stall_clock import StallClock

STALL_S, READ_S = 2.0, 1.0


def detected_after(arrivals: list[float], *, parsed: bool, until: float) -> float | None:
    """Play arrivals to a reader and return when the clock says stalled; None if it does not until ``until``.

    Args:
        arrivals: When each frame's data comes.
        parsed: A frame is handed out when the next one begins, or at a read time-out.
        until: When to end.
    """
    clock = StallClock(0.0, STALL_S, READ_S)
    pending, held, now = sorted(arrivals), 0, 0.0
    while now < until:
        asked, deadline = now, now + READ_S
        while True:
            if pending and pending[0] <= deadline:
                now = max(now, pending.pop(0))
                held += 1
                if held > 1 or not parsed:
                    held -= 1
                    clock.packet(asked, now)
                    break
            else:
                now = deadline
                if held:
                    held -= 1
                    clock.packet(asked, now)
                else:
                    clock.timed_out()
                    if clock.stalled(now):
                        return now
                break
    return None


@pytest.mark.parametrize("parsed", [True, False])
def test_a_server_that_stops_is_found_after_the_stall_timeout(parsed: bool) -> None:
    frames = [index / 25 for index in range(1, 100)]
    found = detected_after(frames, parsed=parsed, until=60)
    assert found == pytest.approx(frames[-1] + STALL_S)


@pytest.mark.parametrize("parsed", [True, False])
@pytest.mark.parametrize("interval_s", [0.04, 0.7, 0.99, 1.1, 1.3, 1.5, 1.7])
def test_a_slow_camera_is_left_alone(parsed: bool, interval_s: float) -> None:
    frames = [index * interval_s for index in range(1, 200)]
    assert detected_after(frames, parsed=parsed, until=frames[-1]) is None


@pytest.mark.parametrize("parsed", [True, False])
def test_a_slow_camera_that_stops_is_found(parsed: bool) -> None:
    frames = [index * 1.5 for index in range(1, 20)]
    found = detected_after(frames, parsed=parsed, until=60)
    assert found is not None
    assert frames[-1] + 0.95 * STALL_S <= found <= frames[-1] + STALL_S + 2 * READ_S


def test_silence_from_the_start_is_a_stall() -> None:
    assert detected_after([], parsed=True, until=60) == STALL_S


def test_without_a_parser_every_packet_is_a_sign_of_life() -> None:
    clock = StallClock(0.0, STALL_S)
    clock.packet(0.0, 1.8)
    assert not clock.stalled(3.6)
    assert clock.stalled(3.8)
