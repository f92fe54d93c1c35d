"""The link between the supervisor and one child process.

The child reports that it is ready and makes progress; the supervisor sends it messages
(``streamseg/ipc/supervisor_messages.py``) and asks it to stop. The link is a socket pair: each end notices at once when
the other dies, a child can poll it together with its frames, and the descriptors of a new ring can be sent over it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from streamseg.common.logs import dropped_lines
from streamseg.ipc.supervisor_messages import ChildMessage, OpenStream, Report, SupervisorMessage
from streamseg.ring.frame_ring import FrameRing

_PR_SET_PDEATHSIG = 1

STOP: Final = b"stop"
OF_SUPERVISOR: Final = frozenset({signal.SIGINT, signal.SIGHUP})
"""Signals that only the supervisor handles."""

_MAX_DESCRIPTORS: Final = 8


class ChildLink:
    """The child's end of the link.

    Args:
        connection: One end of a duplex pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._send_lock = threading.Lock()
        self._stopping = False
        self._messages: list[SupervisorMessage] = []

    def attach(self) -> None:
        """Make this process exit with its supervisor. The child's main thread calls it first.

        SIGINT and SIGHUP are ignored, because a terminal sends them to the whole group and the supervisor handles
        them. SIGTERM keeps its default action, so that it ends a child that hangs in foreign code.
        """
        for number in OF_SUPERVISOR:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_SUPERVISOR)  # blocked since `Child.start`
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the supervisor died before prctl took effect
            os._exit(1)

    def fileno(self) -> int:
        """Descriptor that is readable when the supervisor sent a message or died."""
        return self._connection.fileno()

    def stop_requested(self, timeout_s: float = 0.0) -> bool:
        """Return whether this process should end.

        Blocks: up to ``timeout_s``.
        """
        if self._stopping:
            return True
        try:
            if self._connection.poll(timeout_s):
                self._receive()
        except (EOFError, OSError):
            self._stopping = True
        return self._stopping

    def take_messages(self) -> list[SupervisorMessage]:
        """Return the messages from the supervisor since the last call."""
        try:
            while not self._stopping and self._connection.poll():
                self._receive()
        except (EOFError, OSError):
            self._stopping = True
        messages, self._messages = self._messages, []
        return messages

    def _receive(self) -> None:
        data = self._connection.recv_bytes()
        if data == STOP:
            self._stopping = True
            return
        message: SupervisorMessage = pickle.loads(data)
        if isinstance(message, OpenStream):
            message = replace(message, ring=FrameRing.of(message.shape, self._receive_descriptors()))
        self._messages.append(message)

    def _receive_descriptors(self) -> list[int]:
        """Return the descriptors that follow a message, sent with a separate byte."""
        with socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as link:
            byte, fds, _, _ = socket.recv_fds(link, 1, _MAX_DESCRIPTORS)
        if not byte:
            raise EOFError("the supervisor died in the middle of a message")
        return fds

    def send(self, message: ChildMessage) -> None:
        """Send a message to the supervisor. If it is gone, :meth:`stop_requested` returns True."""
        if isinstance(message, Report):
            message = replace(message, log_dropped=dropped_lines())
        with self._send_lock, contextlib.suppress(OSError, ValueError):
            self._connection.send(message)


def send_message(connection: Connection, message: SupervisorMessage, fds: Sequence[int] = ()) -> bool:
    """Send a message to a child; the supervisor's end. Never blocks.

    Args:
        connection: Connection to the child.
        message: The message.
        fds: Descriptors that belong to it.

    Returns:
        False if the child cannot take it: it is dead, or has not read for a long time.
    """
    try:
        # A Unix socket is writable while most of its buffer is free, and a message needs less than that.
        writable = select.poll()
        writable.register(connection, select.POLLOUT)
        if not writable.poll(0):
            return False
        connection.send_bytes(pickle.dumps(message))
        if fds:
            with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as link:
                socket.send_fds(link, [b"+"], list(fds))
    except OSError:
        return False
    return True
