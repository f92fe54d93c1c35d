"""Ends a command that runs until Ctrl-C."""

from __future__ import annotations

import signal
import threading


def ended_by_signal() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended
