"""The limit on open files: each connection is one, and where the default is low, so few that anyone can use them up."""

from __future__ import annotations

import resource
from typing import Final

OPEN_FILES: Final = 16_384


def raise_open_files() -> int:
    """Raise the soft limit on open files as far as the hard one allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return soft
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
