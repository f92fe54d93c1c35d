"""Bind the address of the HTTP server, with errors that name the setting."""

from __future__ import annotations

import errno
import socket
from typing import Final

from streamseg.ipc.endpoints import bind_error

_SEND_BUFFER_BYTES: Final = 256 * 1024


def listen_on(address: str, scheme: str = "http") -> tuple[socket.socket, str]:
    """Bind a TCP socket.

    Args:
        address: ``HOST:PORT``; port 0 picks a free port.
        scheme: Scheme of the URL.

    Returns:
        The socket, not yet listening, and its URL.

    Raises:
        ConfigError: The address cannot be bound; the message says why and how to fix it.
    """
    host, _, port = address.rpartition(":")
    ip = host.strip("[]")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by connections: a slow reader of pictures buffers this much, rather than megabytes of old pictures.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        bound.bind((ip, int(port)))
    except OSError as error:
        bound.close()
        raise bind_error("http.listen", address, error.errno or errno.EINVAL, error.strerror or str(error)) from None
    return bound, f"{scheme}://{host}:{bound.getsockname()[1]}/"
