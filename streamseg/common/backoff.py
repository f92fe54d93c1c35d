"""Exponential back-off between attempts.

Ours because it is twenty lines; retry libraries wrap a call, while our loops have to wait for a stop request too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Waits after consecutive failures: ``first_s``, twice that, and so on up to ``max_s``.

    Attributes:
        first_s: First regular wait.
        max_s: Longest wait.
        healthy_s: An attempt that lasted this long resets the waits.
        quick_s: One quick retry before the regular waits, since most interruptions are short; None: no such retry.
        slow_first_s: First wait after a failure that a quick retry cannot fix.
        jitter: Random share by which each wait is longer or shorter. Spreads out clients that fail at the same time.
    """

    first_s: float
    max_s: float
    healthy_s: float
    quick_s: float | None = None
    slow_first_s: float = 0.0
    jitter: float = 0.0


class Backoff:
    """Waits between the attempts of one client.

    Args:
        policy: The waits.
        seed: Seed of the jitter; None: random.
    """

    def __init__(self, policy: BackoffPolicy, seed: int | None = None) -> None:
        self._policy = policy
        self._random = random.Random(seed)
        self._failures = 0

    def succeeded(self, lasted_s: float) -> None:
        """Report how long an attempt lasted.

        A short success does not reset the waits: otherwise a server that accepts and then drops connections would be
        called without pause.
        """
        if lasted_s >= self._policy.healthy_s:
            self._failures = 0

    def next_wait_s(self, *, slow: bool = False) -> float:
        """Report a failure and return how long to wait before the next attempt.

        Args:
            slow: A quick retry cannot help (wrong credentials, unknown stream) and may lock an account.
        """
        policy, failures = self._policy, self._failures
        self._failures += 1
        if policy.quick_s is not None and failures == 0:
            wait_s = policy.quick_s
        else:
            wait_s = policy.first_s * _doubled(failures - (policy.quick_s is not None))
        if slow:
            wait_s = max(wait_s, policy.slow_first_s * _doubled(failures))
        wait_s = min(wait_s, policy.max_s)
        return min(wait_s * self._random.uniform(1 - policy.jitter, 1 + policy.jitter), policy.max_s)


def _doubled(times: int) -> float:
    return 2.0 ** min(times, _MAX_DOUBLINGS)
