"""The worker's end of the socket on which commands come."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
import zmq

from streamseg.ipc.commands import Command, Outcome, decode_command, encode
from streamseg.protocol.topics import INTERNAL_HWM

log = logging.getLogger(__name__)

WORKER_ID: Final = b"worker"
"""By which the control process addresses it."""


class CommandSocket:
    """Takes commands and answers them. Used by one thread.

    Args:
        endpoint: Where the control process listens for the worker.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, WORKER_ID)
        self.socket.setsockopt(zmq.SNDHWM, INTERNAL_HWM)
        self.socket.setsockopt(zmq.RCVHWM, INTERNAL_HWM)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self.socket.connect(endpoint)

    def wait_connected(self, timeout_s: float) -> None:
        """Wait until commands can come, so that a worker that says it is ready is.

        Blocks: up to ``timeout_s``; a control process that is away longer is no reason not to track.
        """
        self.socket.poll(int(timeout_s * 1000), zmq.POLLOUT)

    def take(self) -> Command | None:
        """Return the next command that came, if any. Never waits."""
        while True:
            try:
                return decode_command(self.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return None
            except msgspec.DecodeError as error:  # a bug, but no reason to stop tracking
                log.error("a command makes no sense: %s", error)

    def answer(self, outcome: Outcome) -> None:
        """Send what became of a command. Never waits: if the control process is away, nobody waits for it any more."""
        try:
            self.socket.send(encode(outcome), zmq.NOBLOCK)
        except zmq.Again:
            log.warning("a command's outcome could not be told: the control process is away")

    def close(self) -> None:
        """Close the socket; what is queued has 200 ms to leave."""
        self.socket.close()
        self._context.term()
