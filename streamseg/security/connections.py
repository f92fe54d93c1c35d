"""Connections of a ZeroMQ socket, to close a single one.

libzmq has no call for that, so its descriptor, of which libzmq tells the number, is shut down; the inode tells whether
the number still belongs to the same connection.
"""

from __future__ import annotations

import errno
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
        copy = os.dup(connection[0])  # libzmq may close the number meanwhile, and another connection get it
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return False
        # That must not protect a connection. At worst, another one is closed, and made again by its client.
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
    except OSError:
        return False
    finally:
        borrowed.detach()
    return True
