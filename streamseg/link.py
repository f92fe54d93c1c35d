"""The line between the supervisor and one child process.

The child says that it is ready and that it still makes progress; the supervisor says when to stop. The line is a
pipe, so that either end notices at once when the other dies, and so that a child can wait for it in the same poll
as for its frames.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a child says.

    Attributes:
        kind: ``ready``, ``progress`` (still alive: sent as often as the child's loop turns, at most once a
            second), ``subscribed`` (publisher: somebody subscribes to masks, objects or
            pictures), ``ended`` (capture: a file is at its end), ``fatal`` (no restart would help).
        text: For people.
        exit_code: With ``fatal``: what the daemon should exit with.
    """

    kind: Literal["ready", "progress", "subscribed", "ended", "fatal"]
    text: str = ""
    exit_code: int = 1


class ChildLink:
    """The child's end of the line.

    Args:
        connection: One end of a duplex pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._send_lock = threading.Lock()
        self._stopping = False

    def attach(self) -> None:
        """Make this process end with its supervisor. Called first thing in the child, by its main thread.

        SIGINT is left to the supervisor (a terminal sends it to the whole group); SIGTERM keeps its default, so
        that a child that hangs in foreign code still ends.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked since `Child.start`
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the supervisor died before prctl took effect
            os._exit(1)

    def fileno(self) -> int:
        """Descriptor that is readable when the supervisor said something or died."""
        return self._connection.fileno()

    def stop_requested(self, timeout_s: float = 0.0) -> bool:
        """Return whether this process should end.

        Blocks: up to ``timeout_s``.
        """
        if self._stopping:
            return True
        try:
            if self._connection.poll(timeout_s):
                self._connection.recv_bytes()
                self._stopping = True
        except (EOFError, OSError):
            self._stopping = True
        return self._stopping

    def send(self, report: Report) -> None:
        """Tell the supervisor something. A supervisor that is gone is noticed by :meth:`stop_requested`."""
        with self._send_lock, contextlib.suppress(OSError, ValueError):
            self._connection.send(report)
