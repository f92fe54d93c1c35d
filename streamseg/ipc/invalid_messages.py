"""Messages of an internal socket that cannot be read: counted, and a few of them logged."""

from __future__ import annotations

import logging
from typing import Final

from streamseg.common.repeated_logs import is_logged

_MAX_TEXT: Final = 200
"""The error may quote the message, which may be of any length."""


class InvalidMessages:
    """The skipped messages of one socket. Used by one thread.

    Args:
        log: Of the module that owns the socket.
        what: What was skipped, for the log.

    Attributes:
        count: How many there were.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self.count = 0

    def skip(self, error: Exception) -> None:
        """Count a message, and log it if the count has doubled: a flood must not fill the disk with its log."""
        self.count += 1
        if is_logged(self.count):
            self._log.error("%s skipped, %d so far: %s", self._what, self.count, str(error)[:_MAX_TEXT])
