"""Counts messages of an internal socket that cannot be read, and logs a few of them."""

from __future__ import annotations

import logging
from typing import Final

from streamseg.common.repeated_logs import is_logged

_MAX_TEXT: Final = 200
"""The error may quote the message, which may be of any length."""


class InvalidMessages:
    """Counter of one socket's skipped messages. Used by one thread.

    Args:
        log: Logger of the module that owns the socket.
        what: What was skipped, for the log.

    Attributes:
        count: How many there were.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self.count = 0

    def skip(self, error: Exception) -> None:
        """Count a message, and log it if the count has doubled, so that a flood does not fill the log."""
        self.count += 1
        if is_logged(self.count):
            self._log.error("%s skipped, %d so far: %s", self._what, self.count, str(error)[:_MAX_TEXT])
