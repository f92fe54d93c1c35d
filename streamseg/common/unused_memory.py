"""Returns freed memory to the system. glibc would keep it, in a separate arena for each thread."""

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
    """Return free memory. Blocks: milliseconds. Does nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
