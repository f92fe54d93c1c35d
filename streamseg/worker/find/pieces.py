"""Runs the work of one finder in pieces between frames. An error ends it; its time is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from streamseg.common.repeated_logs import is_logged
from streamseg.errors import FrameExpiredError
from streamseg.worker.track_errors import raise_if_device_lost

log = logging.getLogger(__name__)


class Pieces:
    """Runs tasks piece by piece, one task at a time.

    Args:
        what: Name of the task, for the log.
        on_end: Called when a task has ended or was dropped.

    Attributes:
        expired: Tasks whose frame was no longer held.
        failed: Tasks that ended with an error.
        longest_s: Longest time between two frames spent on pieces, in seconds.
        spent_s: Seconds spent on the current task, or on the last one.
    """

    def __init__(self, what: str, on_end: Callable[[], None]) -> None:
        self.expired = self.failed = 0
        self.longest_s = self.spent_s = 0.0
        self._what = what
        self._on_end = on_end
        self._work: Iterator[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a task is in progress."""
        return self._work is not None

    def begin(self, work: Iterator[None]) -> None:
        """Begin a task, whose steps are its pieces."""
        self._work, self.spent_s = work, 0.0

    def end(self) -> None:
        """Drop the current task, if there is one."""
        if self._work is not None:
            self._work = None
            self._on_end()

    def run(self) -> None:
        """Do one piece. An error ends the task; the worker goes on.

        Raises:
            Exception: The device is lost.
        """
        assert self._work is not None
        try:
            next(self._work)
        except StopIteration:
            self.end()
        except FrameExpiredError:
            self.expired += 1
            self.end()
        except BaseException as error:
            raise_if_device_lost(error)
            self.failed += 1
            self.end()
            if is_logged(self.failed):
                log.exception("%s failed, %d so far", self._what, self.failed)

    def note_run(self, seconds: float) -> None:
        """Note how long pieces took between two frames."""
        self.spent_s += seconds
        self.longest_s = max(self.longest_s, seconds)


def milliseconds(seconds: float) -> float:
    """Return milliseconds as counts report them."""
    return round(1000 * seconds, 2)
