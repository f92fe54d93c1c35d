"""Where files lie that could be had again: checkpoints, compiled code."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Return ``streamseg`` in the user's cache; it need not exist.

    The cache is ``$XDG_CACHE_HOME``, or ``~/.cache`` where that is unset or not absolute (as its specification says).
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "streamseg"
