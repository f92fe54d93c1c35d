"""Gives memory that was freed back to the system. glibc keeps it for later, each thread's in an arena of its own."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8
"""From ``malloc.h``."""


def limit_arenas(count: int) -> None:
    """Let threads share this many arenas. Must run before they start. Does nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, count)


def return_unused_memory() -> None:
    """Give back what is free now. Blocks: milliseconds. Does nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
