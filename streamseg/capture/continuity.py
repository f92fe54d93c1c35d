"""Detects discontinuities: frames that do not follow the previous one in time or size."""

from __future__ import annotations

from typing import Final

from streamseg.frame import SourceFrame

JUMP_S: Final = 3.0
"""Shorter gaps are hiccups: objects can still be tracked across them."""

JUMP_INTERVALS: Final = 10.0
"""For slow sources the gap is measured in frame intervals."""

LIVE_BACKWARDS_S: Final = 0.5
"""FFmpeg shifts a live stream's stamps by about a frame when the first RTCP report arrives; this is not a jump."""


class Continuity:
    """Compares each frame with the previous one.

    A frame is discontinuous if its size differs, if its source says so (a change of codec), if its presentation stamp
    goes back (live: by more than 0.5 s), if the stamp leaps by more than 3 s and ten frame intervals, or if its wall
    clock deviates from its reference by more than 3 s. The reference for a camera's clock (RTCP) is the presentation
    stamp; for this machine's clock it is the monotonic clock.

    Args:
        live: Whether the source is live.
    """

    def __init__(self, *, live: bool) -> None:
        self._backwards_s = LIVE_BACKWARDS_S if live else 0.0
        self._last: SourceFrame | None = None
        self._interval_s = 0.0

    def break_before(self, frame: SourceFrame) -> str | None:
        """Return a description of the discontinuity before this frame; None if there is none."""
        last, self._last = self._last, frame
        if last is None:
            return None
        if (old := _size(last)) != (new := _size(frame)):
            return f"size changed from {old[0]}x{old[1]} to {new[0]}x{new[1]}"
        if frame.discontinuity:
            return frame.discontinuity
        ours_s = (frame.stamps.t_captured_ns - last.stamps.t_captured_ns) / 1e9
        theirs_s = _pts_step_s(last, frame)
        step_s = ours_s if theirs_s is None else theirs_s
        if step_s < -self._backwards_s:
            return f"presentation stamps went back by {-step_s:.3f} s"
        if step_s > max(JUMP_S, JUMP_INTERVALS * self._interval_s):
            self._interval_s = step_s  # if it stays this slow, this is its rate
            return f"presentation stamps jumped by {step_s:.3f} s"
        self._interval_s = max(step_s, 0.0)
        if frame.stamps.t_source == last.stamps.t_source:
            wall_s = (frame.stamps.t_wall_ns - last.stamps.t_wall_ns) / 1e9
            reference_s = step_s if frame.stamps.t_source == "rtcp" else ours_s
            if abs(wall_s - reference_s) > JUMP_S:
                return f"the wall clock jumped by {wall_s - reference_s:+.3f} s"
        return None


def _size(frame: SourceFrame) -> tuple[int, int]:
    return frame.format.width, frame.format.height


def _pts_step_s(last: SourceFrame, frame: SourceFrame) -> float | None:
    if last.stamps.pts is None or frame.stamps.pts is None:
        return None
    numerator, denominator = frame.stamps.time_base
    return (frame.stamps.pts - last.stamps.pts) * numerator / denominator
