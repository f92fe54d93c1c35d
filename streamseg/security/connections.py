"""Identifies single connections of a ZeroMQ socket, and closes them.

libzmq has no call for that, so the connection's descriptor is shut down. libzmq reports its number, and the inode shows
whether the number still belongs to the same connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import struct
from typing import Final

import zmq

Connection = tuple[int, int]
"""Descriptor and inode."""

_MAX_ACCEPTED: Final = 100_000
"""Events queued while a thread is busy. If there are more, libzmq's I/O thread blocks, and with it the socket."""


_DISCARD_BYTES: Final = 64 * 1024


def accepted_connections(watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Return a socket that receives an event for each connection that another socket accepts.

    Args:
        watched: The socket, not bound yet. Its ``disable_monitor`` ends the events.
    """
    # Not get_monitor_socket: it holds 2,000 events, and beyond them disable_monitor never returns.
    endpoint = f"inproc://accepted-{secrets.token_hex(8)}"
    watched.monitor(endpoint, zmq.EVENT_ACCEPTED)
    events: zmq.Socket[bytes] = watched.context.socket(zmq.PAIR)
    events.setsockopt(zmq.RCVHWM, _MAX_ACCEPTED)
    events.connect(endpoint)
    return events


def connection_at(fd: int) -> Connection | None:
    """Return the connection that has a descriptor; None if it is closed."""
    try:
        return fd, os.fstat(fd).st_ino
    except OSError:
        return None


def connection_of(message: zmq.Frame) -> Connection | None:
    """Return the connection that a message came from; None if it is closed."""
    try:
        return connection_at(int(message.get(zmq.SRCFD)))
    except (ValueError, TypeError, zmq.ZMQError):
        return None


def peer_of(connection: Connection) -> str:
    """Return the peer of a connection: its IP address, or for ipc its process; empty if it is closed."""
    try:
        with socket.socket(fileno=os.dup(connection[0])) as copy:
            if copy.family != socket.AF_UNIX:
                return str(copy.getpeername()[0])
            pid, _, _ = struct.unpack("3i", copy.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return f"process {pid}"
    except OSError:
        return ""


def is_open(connection: Connection) -> bool:
    """Whether a connection is still open."""
    return connection_at(connection[0]) == connection


def shut_down(connection: Connection) -> bool:
    """Shut a connection down; libzmq detects this and frees its resources.

    Returns:
        Whether it was open.
    """
    try:
        copy = os.dup(connection[0])  # libzmq may close the descriptor meanwhile, and its number be reused
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return False
        # Close it even without a free descriptor. At worst this closes another connection, whose client reconnects.
        return _shut_down(*connection)
    try:
        return _shut_down(copy, connection[1])
    finally:
        os.close(copy)


def _shut_down(fd: int, inode: int) -> bool:
    try:
        if os.fstat(fd).st_ino != inode:
            return False
        borrowed = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        borrowed.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # otherwise data it has sent would still be read
            while borrowed.recv(_DISCARD_BYTES, socket.MSG_DONTWAIT):
                pass
    except OSError:
        return False
    finally:
        borrowed.detach()
    return True
