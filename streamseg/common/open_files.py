"""Raises the limit on open files. Each connection uses one, and any client could use up a low default."""

from __future__ import annotations

import resource
from typing import Final

OPEN_FILES: Final = 16_384


def raise_open_files(wanted: int = OPEN_FILES) -> bool:
    """Raise the soft limit on open files as needed, up to the hard limit.

    Returns:
        Whether that many files can be open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return True
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed >= wanted
