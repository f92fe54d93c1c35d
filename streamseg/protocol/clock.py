"""Names for monotonic clocks, to tell whether two processes share one."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def clock_name() -> str:
    """Return 8 hexadecimal digits that name this machine's monotonic clock since its last boot.

    Two processes with the same name may compare their ``time.monotonic_ns()``. The name is a digest of the kernel's
    boot id and reveals nothing else about the machine. It is empty if the kernel has no boot id; then no clock counts
    as shared.
    """
    try:
        boot_id = _BOOT_ID.read_bytes().strip()
    except OSError:
        return ""
    return hashlib.sha256(b"streamseg clock " + boot_id).hexdigest()[:8]
