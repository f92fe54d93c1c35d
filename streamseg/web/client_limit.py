"""Limit on the number of viewers.

Not an ``asyncio.Semaphore``: it would make viewers wait without a response; here they get an error at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streamseg.web.api_error import ApiError


class ClientLimit:
    """Counts the browsers and programs that watch pictures, and limits them.

    Args:
        max_clients: The maximum.

    Attributes:
        active: Number of current viewers.
    """

    def __init__(self, max_clients: int) -> None:
        self.active = 0
        self._max_clients = max_clients

    def check(self) -> None:
        """Check that one more client may watch.

        Raises:
            ApiError: The maximum is reached.
        """
        if self.active >= self._max_clients:
            raise ApiError(
                503,
                "BUSY",
                f"{self._max_clients} browsers and programs are watching already: close one, or raise http.max_clients",
                retryable=True,
                headers={"Retry-After": "5"},
            )

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Count one client for the duration of the block.

        Raises:
            ApiError: The maximum is reached.
        """
        self.check()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
