"""Which machine's monotonic clock a stamp belongs to."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def clock_name() -> str:
    """Return 8 hexadecimal digits that name this machine's monotonic clock since its last boot.

    Two processes that get the same name may compare their ``time.monotonic_ns()``. It is a digest of the kernel's boot
    id, so it says nothing else of the machine. Empty where the kernel tells none: then nobody shares the clock.
    """
    try:
        boot_id = _BOOT_ID.read_bytes().strip()
    except OSError:
        return ""
    return hashlib.sha256(b"streamseg clock " + boot_id).hexdigest()[:8]
