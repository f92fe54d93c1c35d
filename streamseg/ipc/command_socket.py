"""The worker's end of the command socket."""

from __future__ import annotations

import logging
from typing import Final

import zmq

from streamseg.ipc.commands import Command, Outcome, decode_command, encode
from streamseg.ipc.invalid_messages import InvalidMessages
from streamseg.protocol.topics import INTERNAL_HWM

log = logging.getLogger(__name__)

WORKER_ID: Final = b"worker"
"""Routing id by which the control process addresses the worker, unless a daemon chooses a secret one."""


class CommandSocket:
    """Receives commands and returns their outcomes. Used by one thread.

    Args:
        endpoint: Where the control process listens for the worker.
        routing_id: The control process addresses the worker by it. A peer with the same id would replace the worker.
    """

    def __init__(self, endpoint: str, routing_id: bytes = WORKER_ID) -> None:
        self._invalid = InvalidMessages(log, "invalid command")
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self.socket.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self.socket.connect(endpoint)

    def wait_connected(self, timeout_s: float) -> None:
        """Wait until the control process is connected, so that a ready worker can take commands.

        Blocks: up to ``timeout_s``. Tracking does not depend on it, so there is no error after that.
        """
        self.socket.poll(int(timeout_s * 1000), zmq.POLLOUT)

    def take(self) -> Command | None:
        """Return the next command, if any. Never blocks."""
        while True:
            try:
                return decode_command(self.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return None
            except Exception as error:  # noqa: BLE001 - a bug, but no reason to stop tracking
                self._invalid.skip(error)

    def answer(self, outcome: Outcome) -> None:
        """Send the outcome of a command. Never blocks: if the control process is gone, so are the clients that wait."""
        try:
            self.socket.send(encode(outcome), zmq.NOBLOCK)
        except zmq.Again:
            log.warning("the outcome of a command could not be sent: the control process is gone")

    def close(self) -> None:
        """Close the socket. Queued messages have 200 ms to be sent."""
        self.socket.close()
        self._context.term()
