"""The publisher's sockets."""

from __future__ import annotations

import contextlib
from typing import Final

import zmq

from streamseg.config.schema import PublishConfig
from streamseg.ipc.commands import StatusCopy
from streamseg.ipc.commands import encode as encode_command
from streamseg.ipc.endpoints import PathClaim, bind
from streamseg.protocol.topics import INTERNAL_HWM, PUBLISH_HWM
from streamseg.publish.admission import Admission, PeerTurns
from streamseg.publish.stream_encoder import Parts
from streamseg.publish.subscriber_access import SubscriberAccess
from streamseg.publish.subscriber_guard import SubscriberGuard
from streamseg.security.curve_gate import CurveGate
from streamseg.security.key_folder import KeyFolder

_LINGER_MS: Final = 200


class PublisherSockets:
    """A PULL socket for internal messages, an XPUB socket for subscribers, a DEALER socket to the control process.

    The publisher binds the first two, so that the processes on both sides can come and go.

    Args:
        commands_endpoint: Address of the control process.

    Attributes:
        inbox: Internal messages.
        outlet: Subscriptions in, published messages out.
        guard: Disconnects subscribers that flood the outlet.
        admission: Admits subscribers; its gate is set by :meth:`bind`.
        access: Decides who may receive what; None before :meth:`bind`, and if no endpoint needs a key.
    """

    def __init__(self, commands_endpoint: str) -> None:
        self._claims: list[PathClaim] = []
        self._context = zmq.Context()
        self.inbox = self._context.socket(zmq.PULL)
        self.inbox.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self.outlet = self._context.socket(zmq.XPUB)
        self.outlet.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.outlet.setsockopt(zmq.SNDHWM, PUBLISH_HWM)
        self.outlet.setsockopt(zmq.LINGER, _LINGER_MS)
        self.outlet.setsockopt(zmq.TCP_KEEPALIVE, 1)
        turns = PeerTurns()
        self.admission = Admission(self._context, turns)
        self.admission.watch(self.outlet)
        self.guard = SubscriberGuard(self.outlet, turns)
        self.access: SubscriberAccess | None = None
        self._status_copies = self._context.socket(zmq.DEALER)
        self._status_copies.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self._status_copies.setsockopt(zmq.IMMEDIATE, 1)
        self._status_copies.connect(commands_endpoint)

    def bind(
        self, internal_endpoint: str, publish: PublishConfig, local_endpoint: str | None, keys: KeyFolder
    ) -> list[str]:
        """Bind all endpoints.

        Args:
            internal_endpoint: Address of the inbox.
            publish: Public addresses of the outlet.
            local_endpoint: Additional address of the outlet, for processes of this daemon.
            keys: Keys that may connect where one is needed.

        Returns:
            The public addresses, with real ports.

        Raises:
            ConfigError: one cannot be bound, or needs a key and the daemon has none.
        """
        self._bind(self.inbox, internal_endpoint, "the internal endpoint")
        secured = [endpoint for endpoint in publish.endpoints if publish.needs_key(endpoint)]
        if secured:
            self.admission.gate = CurveGate(self.admission.handshakes, keys)
            self.access = SubscriberAccess(self.outlet, self.admission.gate)
        addresses = {
            endpoint: self._bind(self.outlet, endpoint, "publish.endpoints")
            for endpoint in publish.endpoints
            if endpoint not in secured
        }
        if local_endpoint is not None:
            self._bind(self.outlet, local_endpoint, "the local endpoint")
        if self.admission.gate is not None:
            self.admission.gate.secure(self.outlet)  # libzmq cannot take this back, so these are bound last
        addresses |= {endpoint: self._bind(self.outlet, endpoint, "publish.endpoints") for endpoint in secured}
        return [addresses[endpoint] for endpoint in publish.endpoints]

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str, setting: str) -> str:
        address, claim = bind(socket, endpoint, setting)
        if claim is not None:
            self._claims.append(claim)
        return address

    def publish(self, parts: Parts) -> None:
        """Send to the subscribers of the topic. Never blocks: a slow subscriber loses messages, the others do not."""
        self.outlet.send_multipart(parts, zmq.NOBLOCK)

    def copy_status(self, stream: str, status: bytes) -> None:
        """Send a copy of a status to the control process. Never blocks."""
        with contextlib.suppress(zmq.Again):  # the control process is away
            self._status_copies.send(encode_command(StatusCopy(stream, status)), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the sockets and remove their files.

        Blocks: up to 0.2 s, for subscribers that are slow to take the last messages.
        """
        self.guard.close()
        self.admission.close()
        self.inbox.close(linger=0)
        self._status_copies.close(linger=0)
        self.outlet.close()
        self._context.term()
        for claim in self._claims:
            claim.release()
