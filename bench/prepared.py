"""Waits until what runs a model is final: OpenVINO's and torch's compilers take over while frames are tracked."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamseg.client import DaemonStatusMessage, Subscriber
from streamseg.tracker.sam2_tracker import Sam2Tracker

LIMIT_S = 900.0
"""Default of the longest wait. On a busy machine the preparation only gets idle time."""

_TURN_S = 0.1


def is_final(engine: str) -> bool:
    """Whether what a status calls ``engine`` stays: not ``eager (converting 40 %)``."""
    return not engine.startswith(("eager (loading", "eager (converting", "eager (compiling"))


def daemon_engine(endpoint: str, limit_s: float = LIMIT_S) -> str:
    """Wait until a daemon's engine is final; return it, or what it is at the limit."""
    deadline = time.monotonic() + limit_s
    with Subscriber(endpoint, kinds=("status",), mode="all") as statuses:
        while True:
            message = statuses.receive(timeout_s=60)
            if not isinstance(message, DaemonStatusMessage):
                continue
            reported = bool(message.device)  # by the worker; a model without a network has a device, but no engine
            if (reported and is_final(message.engine)) or time.monotonic() > deadline:
                return message.engine


def tracker_engine(tracker: Sam2Tracker, track: Callable[[], object], limit_s: float = LIMIT_S) -> str:
    """Track a frame now and then until a tracker's engine is final; return it, or what it is at the limit.

    Args:
        tracker: The tracker, warmed up.
        track: Tracks one frame: on CUDA, graphs are recorded between two.
        limit_s: Longest wait.
    """
    deadline = time.monotonic() + limit_s
    track()
    while not is_final(tracker.engine) and time.monotonic() < deadline:
        time.sleep(_TURN_S)  # the preparation gets the time that nothing else wants
        track()
    return tracker.engine
