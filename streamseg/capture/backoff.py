"""How long to wait before connecting again."""

from __future__ import annotations

import random
from typing import Final

QUICK_S: Final = 0.25
FIRST_S: Final = 1.0
LAST_S: Final = 60.0
SLOW_FIRST_S: Final = 15.0
JITTER: Final = 0.25
HEALTHY_S: Final = 10.0


class Backoff:
    """Waits: one quick retry, since most interruptions are short, then 1, 2, 4 ... 60 s, each up to 25 % more or less.

    The jitter keeps many streams of one server from coming back all at once.

    Args:
        seed: Of the jitter; None: at random.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._failures = 0

    def succeeded(self, streamed_s: float) -> None:
        """Take note that a connection gave frames for so long.

        A short one does not count as healthy: a server that accepts and drops again at once would otherwise be
        called four times a second for ever.
        """
        if streamed_s >= HEALTHY_S:
            self._failures = 0

    def next_wait_s(self, *, slow: bool = False) -> float:
        """Take note of a failure and return how long to wait.

        Args:
            slow: The server answered "no" (wrong credentials, unknown stream): hurrying does not help and may
                lock the account.
        """
        self._failures += 1
        wait_s = QUICK_S if self._failures == 1 else min(FIRST_S * 2.0 ** min(self._failures - 2, 16), LAST_S)
        if slow:
            wait_s = max(wait_s, min(SLOW_FIRST_S * 2.0 ** min(self._failures - 1, 16), LAST_S))
        return min(wait_s * self._random.uniform(1 - JITTER, 1 + JITTER), LAST_S)
