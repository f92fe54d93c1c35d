"""The line between the supervisor and one child process.

The child reports that it is ready and still makes progress; the supervisor tells it to stop and sends it messages
(``streamseg/ipc/supervisor_messages.py``). The link is a socket pair: either end notices at once when the other dies, a
child can wait for it in the same poll as for its frames, and file descriptors of a new ring can travel on it.
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

from streamseg.ipc.supervisor_messages import ChildMessage, OpenStream, SupervisorMessage
from streamseg.ring.frame_ring import FrameRing

_PR_SET_PDEATHSIG = 1

STOP: Final = b"stop"
OF_SUPERVISOR: Final = frozenset({signal.SIGINT, signal.SIGHUP})
"""Signals that children leave to the supervisor."""

_MAX_DESCRIPTORS: Final = 8


class ChildLink:
    """The child's end of the line.

    Args:
        connection: One end of a duplex pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._send_lock = threading.Lock()
        self._stopping = False
        self._orders: list[SupervisorMessage] = []

    def attach(self) -> None:
        """Make this process end with its supervisor. Called first thing in the child, by its main thread.

        SIGINT and SIGHUP are left to the supervisor (a terminal sends them to the whole group); SIGTERM keeps its
        default, so that a child that hangs in foreign code still ends.
        """
        for number in OF_SUPERVISOR:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_SUPERVISOR)  # blocked since `Child.start`
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
                self._receive()
        except (EOFError, OSError):
            self._stopping = True
        return self._stopping

    def take_messages(self) -> list[SupervisorMessage]:
        """Return what the supervisor ordered since the last call."""
        try:
            while not self._stopping and self._connection.poll():
                self._receive()
        except (EOFError, OSError):
            self._stopping = True
        orders, self._orders = self._orders, []
        return orders

    def _receive(self) -> None:
        data = self._connection.recv_bytes()
        if data == STOP:
            self._stopping = True
            return
        order: SupervisorMessage = pickle.loads(data)
        if isinstance(order, OpenStream):
            order = replace(order, ring=FrameRing.of(order.shape, self._receive_descriptors()))
        self._orders.append(order)

    def _receive_descriptors(self) -> list[int]:
        """Return the descriptors that follow an order: they come with a byte of their own, right behind it."""
        with socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as line:
            byte, fds, _, _ = socket.recv_fds(line, 1, _MAX_DESCRIPTORS)
        if not byte:
            raise EOFError("the supervisor died in the middle of an order")
        return fds

    def send(self, said: ChildMessage) -> None:
        """Tell the supervisor something. A supervisor that is gone is noticed by :meth:`stop_requested`."""
        with self._send_lock, contextlib.suppress(OSError, ValueError):
            self._connection.send(said)


def send_message(connection: Connection, order: SupervisorMessage, fds: Sequence[int] = ()) -> bool:
    """Give a child an order; the supervisor's end.

    Args:
        connection: To the child.
        order: What to do.
        fds: Descriptors that belong to it.

    Returns:
        False if the child takes nothing more: it is dead, or has not listened for long. Never waits for one like that.
    """
    try:
        # A Unix socket is writable while most of its buffer is free, which is more room than an order needs.
        room = select.poll()
        room.register(connection, select.POLLOUT)
        if not room.poll(0):
            return False
        connection.send_bytes(pickle.dumps(order))
        if fds:
            with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as line:
                socket.send_fds(line, [b"+"], list(fds))
    except OSError:
        return False
    return True
