"""Writes log lines without ever blocking the caller.

A thread writes the lines. If nothing reads them (Ctrl-S in a terminal, a stopped ``| logger``), a bounded number is
queued, and the others are dropped and counted. Ours because ``logging.handlers.QueueHandler`` either blocks or has an
unbounded queue, and its listener keeps a process from exiting while the pipe is full.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import IO, Final

_MAX_WAITING: Final = 1000
_MAX_LINE_BYTES: Final = 64 * 1024
_EXIT_S: Final = 0.5
"""How long an exiting process waits for its last lines to be written."""


class LineWriter:
    """Writes lines in a separate thread, so that no caller waits for the reader of the log.

    Args:
        stream: Where to write. Its descriptor is used, since a blocked write to a Python stream would hold its lock.
        describe_dropped: Returns the line that reports a number of dropped lines.

    Attributes:
        dropped: Lines dropped so far.
    """

    def __init__(self, stream: IO[str], describe_dropped: Callable[[int], str]) -> None:
        self._describe_dropped = describe_dropped
        self._fd = os.dup(stream.fileno())
        # SimpleQueue: a signal handler may interrupt `put` and log a line itself.
        self._waiting: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self.dropped = self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        """Queue a line. Never blocks; if the queue is full, the line is dropped and counted."""
        if self._waiting.qsize() >= _MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.put(_encode(line))

    def flush(self, timeout_s: float = _EXIT_S) -> None:
        """Wait until the queued lines are written.

        Blocks: up to ``timeout_s``.
        """
        if self._thread.is_alive():
            written = threading.Event()
            self._waiting.put(written)
            written.wait(timeout_s)

    def close(self) -> None:
        """Write the queued lines and end the thread.

        Blocks: up to half a second.
        """
        atexit.unregister(self.flush)
        self._waiting.put(None)
        self._thread.join(_EXIT_S)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            self._write(item)
            if dropped := self.dropped - self._reported:
                self._reported += dropped
                self._write(_encode(self._describe_dropped(dropped)))
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the reader is gone: there is nowhere to report it
            while data:
                data = data[os.write(self._fd, data) :]


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace")[:_MAX_LINE_BYTES] + b"\n"
