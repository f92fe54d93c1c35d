"""The handler of libzmq's authentication protocol (ZAP, RFC 27): decides who may connect.

Ours because ``zmq.auth.ThreadAuthenticator`` runs a thread with its own event loop, and its callback gets neither the
address, which a log of refusals needs, nor the connection, and cannot delay a handshake. The handler here is a dozen
lines in the process's own loop, without locks.
"""

from __future__ import annotations

from dataclasses import dataclass

import zmq


@dataclass(frozen=True, slots=True)
class Handshake:
    """A connection that asks to be admitted.

    Attributes:
        domain: Domain of the socket that it connects to.
        address: The peer's IP address; for ipc, ``:UID:GID:PID``.
        mechanism: ``NULL`` or ``CURVE``.
        credentials: For CURVE, the public key.
        reply_to: Frames before the reply.
    """

    domain: bytes
    address: str
    mechanism: bytes
    credentials: tuple[bytes, ...]
    reply_to: tuple[bytes, ...]

    @property
    def peer(self) -> str:
        """The peer, as :func:`~streamseg.security.connections.peer_of` names it."""
        return f"process {self.address.rpartition(':')[2]}" if self.address.startswith(":") else self.address


class HandshakeSocket:
    """Receives the handshakes of one context's sockets. A context can have only one.

    Args:
        context: Context of the sockets.

    Attributes:
        socket: To poll: readable while handshakes wait.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a reply to a closed connection fails
        self.socket.bind("inproc://zeromq.zap.01")

    def receive(self) -> Handshake | None:
        """Return the next handshake; None if none waits."""
        try:
            sender, _, version, number, domain, address, _, mechanism, *credentials = self.socket.recv_multipart(
                zmq.NOBLOCK
            )
        except zmq.Again:
            return None
        to = (sender, b"", version, number)
        return Handshake(domain, address.decode(errors="replace"), mechanism, tuple(credentials), to)

    def admit(self, handshake: Handshake, user: bytes = b"") -> bool:
        """Let a connection in.

        Args:
            handshake: Its handshake.
            user: Becomes the ``User-Id`` of its messages, if not empty.

        Returns:
            Whether the connection was still open.
        """
        return self._reply(handshake, b"200", b"OK", user)

    def refuse(self, handshake: Handshake, why: str) -> bool:
        """Refuse a connection; return whether it was still open. Its client retries with growing pauses."""
        return self._reply(handshake, b"400", why.encode(), b"")

    def _reply(self, handshake: Handshake, status: bytes, text: bytes, user: bytes) -> bool:
        try:
            self.socket.send_multipart([*handshake.reply_to, status, text, user, b""], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        return True

    def close(self) -> None:
        """Stop admitting connections."""
        self.socket.close(linger=0)
