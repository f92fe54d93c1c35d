"""When looks may run: between frames, within a share of the device's time, a piece at a time.

One look is in progress at a time, because it holds much memory. Time is credited as it passes and spent by each piece.
Unspent time is kept for two seconds: a look ends within a few frames, while its frame is still held, and the mean stays
within the share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

log = logging.getLogger(__name__)

_KEEP_S: Final = 2.0
"""Credit is kept for this long."""
_PART_OF_FRAME: Final = 0.5
"""Longest run of pieces between two frames, as a share of the time that a frame takes."""
_CHARGE: Final = 1.3
"""Cost of a run as a multiple of its time: the next frame is slower, since the caches hold the look's data. Without it,
streams kept 89 % of their rate with a share of 0.1 (``bench/find_cost.py``)."""
_MIN_RUN_S: Final = 0.002
_SMOOTHING: Final = 0.1
"""Weight of the newest frame in the mean of the frames' times."""


class Finder(Protocol):
    """Looks for objects on a stream, a piece at a time.

    Attributes:
        stream: Id of the stream.
        name: Its own name; no other finder has it.
    """

    stream: str
    name: str

    @property
    def share(self) -> float:
        """Share of the device's time that it may take."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether a piece can run."""
        ...

    def work(self) -> None:
        """Do one piece."""
        ...

    def note_run(self, seconds: float) -> None:
        """Note how long pieces took between two frames."""
        ...


class LookSchedule:
    """Gives the finders of all streams their turns. Used by the worker's thread.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credit_s = 0.0
        self._credited_at = clock()
        self._frame_s = 0.0
        self._last = ""
        self._unfinished = False

    def note_frame(self, seconds: float) -> None:
        """Note how long a batch of frames took to track."""
        self._frame_s = seconds if not self._frame_s else self._frame_s + _SMOOTHING * (seconds - self._frame_s)

    def wait_s(self, finders: Iterable[Finder]) -> float | None:
        """Return the seconds until a piece may run; None if there is nothing to do."""
        shares = [finder.share for finder in finders if finder.has_work]
        if not shares:
            return None
        self._collect(max(shares))
        return max(0.0, -self._credit_s / max(shares))

    def run(self, finders: Iterable[Finder]) -> str | None:
        """Run pieces of one look, for less time than a frame takes; return its stream, None if none ran.

        Blocks: for half of a frame's time, or for one piece.
        """
        busy = {finder.name: finder for finder in finders if finder.has_work}
        if self.wait_s(busy.values()) != 0.0:
            return None
        finder = busy[self._next(list(busy))]  # the others have not begun: they take the frame of their first piece
        self._last = finder.name
        began, longest = self._clock(), 0.0
        limit_s = max(_MIN_RUN_S, _PART_OF_FRAME * self._frame_s)
        while True:
            piece_began = self._clock()
            finder.work()
            now = self._clock()
            longest = max(longest, now - piece_began)
            if not finder.has_work or now - began + longest > limit_s:
                break
        self._unfinished = finder.has_work
        self._credit_s -= _CHARGE * (now - began)
        finder.note_run(now - began)
        return finder.stream

    def _next(self, names: list[str]) -> str:
        """Return the finder whose look is in progress, or else the next in turn."""
        if self._unfinished and self._last in names:
            return self._last
        later = [name for name in sorted(names) if name > self._last]
        return later[0] if later else min(names)

    def _collect(self, share: float) -> None:
        now = self._clock()
        self._credit_s = min(self._credit_s + share * (now - self._credited_at), share * _KEEP_S)
        self._credited_at = now
