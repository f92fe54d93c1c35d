"""Whether a frame follows the one before it, or the source's time has jumped."""

from __future__ import annotations

from typing import Final

from streamseg.frame import SourceFrame

LEAP_S: Final = 3.0
"""A gap up to this is a hiccup: what moved in it can still be followed."""

LEAP_INTERVALS: Final = 10.0
"""A slow source's gap counts in its own intervals."""

LIVE_BACKWARDS_S: Final = 0.5
"""FFmpeg moves a live stream's stamps by a frame or so when the first RTCP report comes: no jump."""


class Continuity:
    """Compares each frame with the one before it.

    A frame breaks the continuity if its presentation stamp goes backwards (live: by more than 0.5 s), or leaps by
    more than 3 s and ten frame intervals, or if its wall clock departs from the clock beside it by more than 3 s:
    the camera's (RTCP) from the presentation stamps, ours from the monotonic clock.

    Args:
        live: Of the source.
    """

    def __init__(self, *, live: bool) -> None:
        self._backwards_s = LIVE_BACKWARDS_S if live else 0.0
        self._last: SourceFrame | None = None
        self._interval_s = 0.0

    def break_before(self, frame: SourceFrame) -> str | None:
        """Return what broke between the last frame and this one, for people; None if nothing did."""
        last, self._last = self._last, frame
        if last is None:
            return None
        if (old := _size(last)) != (new := _size(frame)):
            return f"size changed from {old[0]}x{old[1]} to {new[0]}x{new[1]}"
        ours_s = (frame.stamps.t_captured_ns - last.stamps.t_captured_ns) / 1e9
        theirs_s = _pts_step_s(last, frame)
        step_s = ours_s if theirs_s is None else theirs_s
        if step_s < -self._backwards_s:
            return f"presentation stamps went back by {-step_s:.3f} s"
        if step_s > max(LEAP_S, LEAP_INTERVALS * self._interval_s):
            self._interval_s = step_s  # if it stays so slow, that is its rate
            return f"presentation stamps leapt by {step_s:.3f} s"
        self._interval_s = max(step_s, 0.0)
        if frame.stamps.t_source == last.stamps.t_source:
            wall_s = (frame.stamps.t_wall_ns - last.stamps.t_wall_ns) / 1e9
            beside_s = step_s if frame.stamps.t_source == "rtcp" else ours_s
            if abs(wall_s - beside_s) > LEAP_S:
                return f"the wall clock leapt by {wall_s - beside_s:+.3f} s"
        return None


def _size(frame: SourceFrame) -> tuple[int, int]:
    return frame.format.width, frame.format.height


def _pts_step_s(last: SourceFrame, frame: SourceFrame) -> float | None:
    if last.stamps.pts is None or frame.stamps.pts is None:
        return None
    numerator, denominator = frame.stamps.time_base
    return (frame.stamps.pts - last.stamps.pts) * numerator / denominator
