"""Whether a file or folder is this user's alone to write."""

from __future__ import annotations

import os


def is_private(found: os.stat_result) -> bool:
    """Whether what was looked at belongs to this user, and neither its group nor others may write to it."""
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022
