"""How many may watch at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streamseg.web.api_error import ApiError


class ClientLimit:
    """A bounded number of places.

    Args:
        count: How many there are.

    Attributes:
        taken: How many are taken.
    """

    def __init__(self, count: int) -> None:
        self.taken = 0
        self._count = count

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Take a place until the end of the block.

        Raises:
            ApiError: all are taken.
        """
        if self.taken >= self._count:
            raise ApiError(
                503,
                "BUSY",
                f"{self._count} browsers and programs are watching already: close one, or raise http.max_clients",
                retryable=True,
                headers={"Retry-After": "5"},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
