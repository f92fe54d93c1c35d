"""Reads the CPU time of a process and its descendants from ``/proc``.

Ours because the daemon does not need psutil, which reads the same files, for anything else.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def active_s(pid: int, *, waiting: bool = True) -> float:
    """Return the CPU time of a process and its descendants; 0 if it has ended.

    The sum falls when a descendant ends and its parent does not wait for it.

    Args:
        pid: The process.
        waiting: Also count how long main threads waited for a CPU.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    with contextlib.suppress(IndexError, ValueError):
        ticks = sum(map(int, fields[11:15]))  # its own, and of children that have ended
        own = ticks / os.sysconf("SC_CLK_TCK") + (_waited_s(pid) if waiting else 0.0)
        return own + sum(active_s(child, waiting=waiting) for child in _children(pid))
    return 0.0


def _children(pid: int) -> list[int]:
    """Return its running child processes, from all threads; none if the kernel does not list them."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # a thread, or the process, has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _waited_s(pid: int) -> float:
    """Return how long a main thread has waited for a CPU; 0 if the kernel does not count it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
