"""Connections of a ZeroMQ socket, to close a single one.

libzmq has no call for that, so its descriptor, of which libzmq tells the number, is shut down; the inode tells whether
the number still belongs to the same connection.
"""

from __future__ import annotations

import os
import socket

import zmq

Connection = tuple[int, int]
"""Descriptor and inode."""


def connection_of(message: zmq.Frame) -> Connection | None:
    """Return the connection that a message came from; None if it is closed."""
    try:
        fd = int(message.get(zmq.SRCFD))
        return fd, os.fstat(fd).st_ino
    except (OSError, ValueError, TypeError, zmq.ZMQError):
        return None


def is_open(connection: Connection) -> bool:
    """Whether a connection is still open."""
    try:
        return os.fstat(connection[0]).st_ino == connection[1]
    except OSError:
        return False


def shut_down(connection: Connection) -> bool:
    """Shut a connection down; libzmq sees its end and frees what belongs to it.

    Returns:
        Whether it was open.
    """
    try:
        with socket.socket(fileno=os.dup(connection[0])) as copy:
            if os.fstat(copy.fileno()).st_ino != connection[1]:
                return False
            copy.shutdown(socket.SHUT_RDWR)
    except OSError:
        return False
    return True
