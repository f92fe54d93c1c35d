"""Signals of the supervisor, and the pipe that wakes its loop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LoopControl:
    """Requests to stop or to reload, from signal handlers and other threads, and a descriptor that wakes the loop.

    Attributes:
        stop_requested: Set by :meth:`stop`.
        reload_requested: Set by :meth:`reload`; the loop clears it.
    """

    def __init__(self) -> None:
        self.stop_requested = threading.Event()
        self.reload_requested = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stop(self) -> None:
        """Request a stop. Safe from any thread and signal handler."""
        self.stop_requested.set()
        self._wake()

    def reload(self) -> None:
        """Request a reload of the configuration. Safe from any thread and signal handler."""
        self.reload_requested.set()
        self._wake()

    def fileno(self) -> int:
        """Descriptor that is readable after a request, until :meth:`drain`."""
        return self._wake_read

    def drain(self) -> None:
        """Make the descriptor unreadable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def close(self) -> None:
        """Close the descriptors. A later :meth:`stop` does not write to another file that reuses their numbers."""
        write, self._wake_write = self._wake_write, -1
        os.close(write)
        os.close(self._wake_read)

    def _wake(self) -> None:
        if self._wake_write >= 0:
            with contextlib.suppress(OSError):  # the pipe is full: the loop wakes up anyway
                os.write(self._wake_write, b"x")

    @contextlib.contextmanager
    def handle_signals(self, *, can_reload: bool) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into :meth:`stop`, and SIGHUP into :meth:`reload`, inside the ``with`` block.

        SIGHUP stops the daemon if there is no configuration file, or if the terminal that started it is gone.
        """
        had_terminal = _has_terminal()

        def on_signal(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGHUP and can_reload and _has_terminal() == had_terminal:
                self.reload()
                log.info("SIGHUP: reloading the configuration")
            else:
                self.stop()
                log.info("%s: stopping", signal.Signals(number).name)

        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back since `streamseg.cli`
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _has_terminal() -> bool:
    return os.isatty(0) or os.isatty(2)
