"""How much CPU time a process and its descendants have used, from ``/proc``.

Ours because psutil, which reads the same files, is not needed by the daemon otherwise.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def active_s(pid: int, *, waiting: bool = True) -> float:
    """Return how long a process and its descendants have computed; 0 if it has ended.

    The sum falls when a descendant ends that its parent does not wait for.

    Args:
        pid: Of the process.
        waiting: Also count how long main threads were ready to run without a CPU.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    with contextlib.suppress(IndexError, ValueError):
        ticks = sum(map(int, fields[11:15]))  # its own, and that of the children that have ended
        own = ticks / os.sysconf("SC_CLK_TCK") + (_waited_s(pid) if waiting else 0.0)
        return own + sum(active_s(child, waiting=waiting) for child in _children(pid))
    return 0.0


def _children(pid: int) -> list[int]:
    """Return the processes that any of its threads started and that live; none if the kernel does not list them."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # a thread, or the process, has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _waited_s(pid: int) -> float:
    """Return how long a main thread has been ready to run without a CPU; 0 if the kernel does not count it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
