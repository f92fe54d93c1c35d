"""Schedules each stream's status: once a second, and at once for a new subscriber."""

from __future__ import annotations

from typing import Final

_PERIOD_NS: Final = 1_000_000_000
_MIN_INTERVAL_NS: Final = 100_000_000
"""Subscribers cannot cause more than ten status messages a second."""


class StatusSchedule:
    """Due times by stream. Times are ``time.monotonic_ns()``."""

    def __init__(self) -> None:
        self._due_ns: dict[str, int] = {}
        self._sent_ns: dict[str, int] = {}

    def add(self, stream: str) -> None:
        """Add a stream; its status is due at once."""
        self._due_ns[stream] = self._sent_ns[stream] = 0

    def remove(self, stream: str) -> None:
        """Remove a stream."""
        del self._due_ns[stream], self._sent_ns[stream]

    def hurry(self, stream: str) -> None:
        """Send a stream's status early, for a new subscriber."""
        self._due_ns[stream] = min(self._due_ns[stream], self._sent_ns[stream] + _MIN_INTERVAL_NS)

    def next_due_ns(self) -> int:
        """Return when the next status is due. There must be a stream."""
        return min(self._due_ns.values())

    def take_due(self, now_ns: int) -> list[str]:
        """Return the streams whose status is due now, and schedule their next ones."""
        due = [stream for stream, due_ns in self._due_ns.items() if now_ns >= due_ns]
        for stream in due:
            self._sent_ns[stream] = now_ns
            self._due_ns[stream] = now_ns + _PERIOD_NS
        return due
