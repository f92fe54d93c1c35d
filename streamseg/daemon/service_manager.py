"""Reports to the service manager: ready, status, watchdog, more time to start (``sd_notify(3)``).

Written here because the protocol is one datagram of ``NAME=value`` lines; packages for it bind libsystemd, which not
every machine has.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

log = logging.getLogger(__name__)

_STATUS_S: Final = 1.0
_EXTEND_S: Final = 60
_EXTEND_EVERY_S: Final = 15.0
"""While a start makes progress, it requests 60 s more every 15 s: compiling one part takes minutes."""


class ServiceManager:
    """The service manager that started the daemon, if one did. Used by the supervisor's thread.

    Never blocks and never raises: a service manager that does not listen must not stop the daemon.

    Args:
        environment: Environment variables; ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are removed, so
            that children do not speak for the daemon.
    """

    def __init__(self, environment: dict[str, str] | os._Environ[str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_s(environment)
        self._socket: socket.socket | None = None
        self._ready = False
        self._status = ""
        self._next_status = 0.0
        self._next_ping = 0.0
        self._next_extension = 0.0
        if address.startswith(("/", "@")):
            # "@" is systemd's way to write the NUL that abstract addresses begin with.
            self._address = f"\0{address[1:]}" if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def ready(self) -> None:
        """Report that the daemon is tracking."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded; :meth:`reloaded` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Report that the reload is over."""
        self._send("READY=1")

    def starting(self, what: str) -> None:
        """Report a step of a long start."""
        if not self._ready:
            self._send(f"STATUS={_one_line(what)}")

    def tick(self, status: str, *, healthy: bool) -> None:
        """Send the reports that are due.

        Args:
            status: One line about the daemon.
            healthy: Whether supervisor and worker make progress. Only then is the watchdog fed, or more time to start
                requested.
        """
        now = time.monotonic()
        if not self._ready and healthy and now >= self._next_extension:
            self._next_extension = now + _EXTEND_EVERY_S
            self._send(f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1_000_000}")
        if now >= self._next_status and status != self._status:
            self._next_status, self._status = now + _STATUS_S, status
            self._send(f"STATUS={_one_line(status)}")
        if self._watchdog_s is not None and healthy and now >= self._next_ping:
            self._next_ping = now + self._watchdog_s / 4
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            log.debug("the service manager does not listen: %s", error)


def _watchdog_s(environment: dict[str, str] | os._Environ[str]) -> float | None:
    """Return the watchdog's time limit in seconds; None without one, or if it watches another process."""
    usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


def _one_line(text: str) -> str:
    return " ".join(text.split())


def describe(processes: Mapping[str, str], worker_status: str) -> str:
    """Return the status line of a daemon.

    Args:
        processes: Name -> state of each process.
        worker_status: The worker's last report: objects and frames per second.
    """
    cameras = [state for name, state in processes.items() if name.startswith("capture:")]
    not_ready = sorted(name for name, state in processes.items() if state not in ("ready", "ended", "waiting"))
    parts = [f"{len(cameras)} camera{'' if len(cameras) == 1 else 's'}", *([worker_status] if worker_status else [])]
    text = ", ".join(parts)
    return f"{text}; not ready: {', '.join(not_ready)}" if not_ready else text
