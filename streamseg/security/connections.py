"""Connections of a ZeroMQ socket, to close a single one.

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
"""Events that wait while a thread is busy. libzmq's I/O thread blocks when there are more, and with it the socket."""


_DISCARD_BYTES: Final = 64 * 1024


def accepted_connections(watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Return a socket that receives an event for each connection that another socket accepts.

    Args:
        watched: Before it is bound. Its ``disable_monitor`` ends the events.
    """
    # Not get_monitor_socket: it holds 2,000 events. Beyond them, disable_monitor never returns.
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
    """Return who made a connection: the IP address, or the process of a connection over ipc; empty if it is closed."""
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
    """Shut a connection down; libzmq sees its end and frees what belongs to it.

    Returns:
        Whether it was open.
    """
    try:
        copy = os.dup(connection[0])  # libzmq may close the number meanwhile, and another connection get it
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return False
        # No free descriptor must not protect a connection. At worst another one is closed, and its client reconnects.
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
        with contextlib.suppress(OSError):  # what it sent would still be read
            while borrowed.recv(_DISCARD_BYTES, socket.MSG_DONTWAIT):
                pass
    except OSError:
        return False
    finally:
        borrowed.detach()
    return True
