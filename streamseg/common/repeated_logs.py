"""Logs of repeated events: a line each time the count has doubled."""

from __future__ import annotations


def is_logged(count: int) -> bool:
    """Whether an occurrence is logged: the first, second, fourth, eighth, and so on.

    Args:
        count: How many there have been, with this one.
    """
    return count.bit_count() == 1
