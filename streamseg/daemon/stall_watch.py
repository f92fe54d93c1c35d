"""Detects a hung process by how long it has been silent and whether it still uses CPU."""

from __future__ import annotations

import time
from typing import Final

from streamseg.common.cpu_time import active_s
from streamseg.daemon.process_table import ProcessEntry

_MIN_ACTIVE_S: Final = 0.1
"""CPU time within a limit that counts as work. A process that is stopped, or waits forever, has none."""
_QUIET_SHARE: Final = 0.3
"""A silent process is measured after this share of its limit. Most send a message before that, and cost nothing."""
_MAX_START_FACTOR: Final = 10
"""A start that computes may take this many times its limit."""
_STEPS: Final = 20
"""A process is slow rather than hung for this many times its slowest recent step."""


class StallWatch:
    """Watches one process of the process table. Used by the supervisor's thread.

    Args:
        entry: Holds the limits.
        pid: The process.
    """

    def __init__(self, entry: ProcessEntry, pid: int) -> None:
        self._entry = entry
        self._pid = pid
        self._started_at = time.monotonic()
        self._step_s = 0.0
        self.reset()

    def reset(self) -> None:
        """Restart the timer, because the supervisor itself was not listening."""
        self._heard_at = self._marked_at = time.monotonic()
        self._active_s: float | None = None

    def heard(self, step_s: float | None = None) -> None:
        """Note a message.

        Args:
            step_s: Its slowest recent step; None: unchanged.
        """
        self._step_s = self._step_s if step_s is None else step_s
        self.reset()

    def silence_s(self) -> float:
        """Seconds since its last message."""
        return time.monotonic() - self._heard_at

    def hangs(self, *, ready: bool) -> bool:
        """Return whether it has been silent for too long.

        A process that computes, or waits for a CPU, has more time: imports on a busy machine or an unusually long
        step send nothing.

        Args:
            ready: Whether it has started.
        """
        limit_s = self.limit_s(ready=ready)
        now = time.monotonic()
        if self._active_s is None:
            if now - self._marked_at > _QUIET_SHARE * limit_s:
                self._active_s = active_s(self._pid)
            return False
        if now - self._marked_at <= limit_s:
            return False
        longest_s = max(limit_s, self._entry.busy_timeout_s) if ready else _MAX_START_FACTOR * limit_s
        silent_s = now - (self._heard_at if ready else self._started_at)
        active = active_s(self._pid)
        # The sum falls when descendants exit, since their wait is no longer counted. They worked until then.
        if 0 <= active - self._active_s < _MIN_ACTIVE_S or silent_s >= longest_s:
            return True
        self._marked_at, self._active_s = now, active
        return False

    def limit_s(self, *, ready: bool) -> float:
        """Return how long it may be silent without using CPU."""
        if not ready:
            return self._entry.ready_timeout_s
        return max(self._entry.silence_timeout_s, _STEPS * self._step_s)
