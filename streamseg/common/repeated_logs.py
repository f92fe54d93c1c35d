"""Limits the log of a repeated event to one line each time its count has doubled."""

from __future__ import annotations


def is_logged(count: int) -> bool:
    """Whether an occurrence is logged: the first, second, fourth, eighth, and so on.

    Args:
        count: Number of occurrences, including this one.
    """
    return count.bit_count() == 1
