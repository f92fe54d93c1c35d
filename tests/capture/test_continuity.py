import numpy as np
import pytest

from streamseg.capture.continuity import Continuity
from streamseg.frame import FrameFormat, FrameStamps, SourceFrame, StampSource


def frame(
    captured_s: float,
    *,
    pts_s: float | None = None,
    wall_s: float | None = None,
    t_source: StampSource = "arrival",
    size: tuple[int, int] = (64, 48),
) -> SourceFrame:
    frame_format = FrameFormat(*size, "gray8")
    captured_ns = round(captured_s * 1e9)
    stamps = FrameStamps(
        t_wall_ns=captured_ns + 10**18 if wall_s is None else round(wall_s * 1e9),
        t_source=t_source,
        t_captured_ns=captured_ns,
        t_decoded_ns=captured_ns,
        pts=None if pts_s is None else round(pts_s * 90_000),
        time_base=(1, 90_000),
    )
    return SourceFrame(frame_format, (np.zeros((size[1], size[0]), np.uint8),), stamps)


def breaks(*frames: SourceFrame, live: bool = True) -> list[int]:
    continuity = Continuity(live=live)
    return [index for index, each in enumerate(frames) if continuity.break_before(each)]


def test_an_even_stream_has_no_break() -> None:
    assert breaks(*[frame(i / 25, pts_s=i / 25) for i in range(100)]) == []


def test_a_first_frame_without_a_stamp_is_no_break() -> None:
    assert breaks(frame(0.0), *[frame(i / 25, pts_s=900 + i / 25) for i in range(1, 20)]) == []


def test_a_new_size_is_a_break() -> None:
    assert breaks(
        frame(0, pts_s=0), frame(0.04, pts_s=0.04, size=(96, 48)), frame(0.08, pts_s=0.08, size=(96, 48))
    ) == [1]


@pytest.mark.parametrize(("live", "expected"), [(True, []), (False, [1])])
def test_a_small_step_back_breaks_files_but_not_live_streams(live: bool, expected: list[int]) -> None:
    assert breaks(frame(0, pts_s=1.0), frame(0.04, pts_s=0.98), frame(0.08, pts_s=1.02), live=live) == expected


@pytest.mark.parametrize("live", [True, False])
def test_a_loop_is_a_break(live: bool) -> None:
    assert breaks(frame(0, pts_s=9), frame(0.04, pts_s=0), frame(0.08, pts_s=0.04), live=live) == [1]


def test_a_long_gap_is_a_break() -> None:
    assert breaks(frame(0, pts_s=0), frame(0.04, pts_s=0.04), frame(5, pts_s=5), frame(5.04, pts_s=5.04)) == [2]


def test_a_network_hiccup_is_no_break() -> None:
    assert breaks(frame(0, pts_s=0), frame(4, pts_s=0.04), frame(4, pts_s=0.08)) == []


def test_a_slow_source_breaks_at_its_first_gap_only() -> None:
    # One frame in 5 s: the first such gap may be a leap, then it is the source's rate.
    assert breaks(*[frame(5 * i, pts_s=5 * i) for i in range(10)]) == [1]


def test_gaps_without_stamps_are_measured_by_arrival() -> None:
    assert breaks(frame(0), frame(0.1), frame(10), frame(10.1)) == [2]


def test_setting_our_clock_is_a_break() -> None:
    frames = [frame(i / 25, pts_s=i / 25, wall_s=1000 + i / 25 - (60 if i >= 5 else 0)) for i in range(10)]
    assert breaks(*frames) == [5]


def test_setting_the_cameras_clock_is_a_break() -> None:
    frames = [frame(i / 25, pts_s=i / 25, wall_s=i / 25 + (60 if i >= 5 else 0), t_source="rtcp") for i in range(10)]
    assert breaks(*frames) == [5]


def test_switching_to_the_cameras_clock_is_no_break() -> None:
    frames = [
        frame(i / 25, pts_s=i / 25, wall_s=i / 25 + (100 if i >= 5 else 0), t_source="rtcp" if i >= 5 else "arrival")
        for i in range(10)
    ]
    assert breaks(*frames) == []
