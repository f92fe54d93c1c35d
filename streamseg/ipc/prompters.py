"""Messages between the worker and the prompters: frames to look at, and proposals.

A prompter says that it is ready. The worker then shares a frame of the ring with it and sends the objects that are
tracked there, and the prompter answers with proposals. Neither side waits for the other. The messages are MessagePack
over an ipc socket, with one ROUTER in the worker and a DEALER in each prompter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import msgspec
import zmq

from streamseg.ipc.invalid_messages import InvalidMessages
from streamseg.ipc.messages import TrackedObject
from streamseg.protocol.text import encode_valid
from streamseg.ring.layout import Role

log = logging.getLogger(__name__)

MAX_PROPOSALS: Final = 100
"""Maximum number of proposals per frame; the rest are ignored."""
MAX_MASK_BYTES: Final = 60 * 1024 * 1024
"""Maximum number of mask bits per frame."""
_MAX_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of a message. libzmq disconnects a prompter that sends more, and notifies neither side."""
_HWM: Final = 8
_RECONNECT_MS: Final = (50, 500)


class Look(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A frame to look at: worker to prompter.

    Attributes:
        frame_id: The frame.
        slot: Its ring slot, shared with the role that the prompter named.
        objects: The objects tracked on it.
    """

    frame_id: int
    slot: int
    objects: list[TrackedObject]


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A prompter waits for a frame. Repeated each second, since the worker may have been replaced.

    Attributes:
        token: Changes with each frame it gets, and with each start of the process.
        role: Its role on the ring.
        failed: Calls so far that raised an exception.
        invalid: Proposals so far that were refused.
        error: Error of the last call; empty if it succeeded.
        call_ms: Time that the last call took.
    """

    token: int
    role: Role
    failed: int = 0
    invalid: int = 0
    error: str = ""
    call_ms: float = 0.0


class ProposedMask(msgspec.Struct, frozen=True, array_like=True):
    """A mask, cropped to its bounding box.

    Attributes:
        roi: x, y, w, h in pixels.
        bits: ``np.packbits(mask, axis=1)`` inside ``roi``. A view of the message where it was received: 100 masks are
            not copied between two frames.
    """

    roi: tuple[int, int, int, int]
    bits: memoryview


class CheckedProposal(msgspec.Struct, frozen=True, array_like=True):
    """A proposal that was checked: exactly one of box, points and mask, in pixels, inside the frame."""

    score: float
    label: str = ""
    key: str = ""
    box: tuple[float, float, float, float] | None = None
    points: list[tuple[float, float, int]] = []
    mask: ProposedMask | None = None


class Proposals(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A prompter's proposals for a frame: best first, at most :data:`MAX_PROPOSALS`."""

    frame_id: int
    proposals: list[CheckedProposal]


_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[Ready | Proposals] = msgspec.msgpack.Decoder(Ready | Proposals)
_to_prompter = msgspec.msgpack.Decoder(Look)


class PrompterHub:
    """The worker's end. Used by one thread.

    Args:
        endpoint: Where to listen. A socket that a killed worker left there is replaced.

    Attributes:
        invalid: Messages that could not be read.
    """

    def __init__(self, endpoint: str) -> None:
        self.invalid = InvalidMessages(log, "invalid message of a prompter")
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a prompter that is gone is an error, not a silent loss
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted prompter takes the place of the old one
        self.socket.setsockopt(zmq.SNDHWM, _HWM)
        self.socket.setsockopt(zmq.RCVHWM, _HWM)
        self.socket.setsockopt(zmq.MAXMSGSIZE, _MAX_BYTES)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(endpoint)

    def take(self, most: int) -> Iterator[tuple[str, str, Ready | Proposals]]:
        """Return the messages that have arrived, each with its stream and prompter. Never blocks.

        Args:
            most: Maximum number of messages to read, including invalid ones.
        """
        for _ in range(most):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                stream, _, prompter = parts[0].bytes.decode().partition("/")
                message = _to_worker.decode(parts[-1].buffer)
            except Exception as error:  # noqa: BLE001 - whatever a prompter sends, tracking goes on
                self.invalid.skip(error)
                continue
            yield stream, prompter, message

    def send(self, stream: str, prompter: str, look: Look) -> bool:
        """Send a frame to look at; return False if the prompter is gone or does not read. Never blocks."""
        try:
            self.socket.send_multipart(
                [f"{stream}/{prompter}".encode(), encode_valid(_encoder.encode, look)], zmq.NOBLOCK
            )
        except zmq.ZMQError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        self._context.term()


class PrompterSocket:
    """A prompter's end. Used by one thread.

    Args:
        endpoint: Where the worker listens.
        stream: The prompter's stream.
        prompter: Its name.
    """

    def __init__(self, endpoint: str, stream: str, prompter: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, f"{stream}/{prompter}".encode())
        self.socket.setsockopt(zmq.SNDHWM, _HWM)
        self.socket.setsockopt(zmq.RCVHWM, _HWM)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS[0])
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS[1])
        self.socket.connect(endpoint)

    def take(self) -> Look | None:
        """Return the next frame to look at; None if there is none. Never blocks."""
        try:
            return _to_prompter.decode(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def send(self, message: Ready | Proposals) -> bool:
        """Send a message; return False if the worker is away. Never blocks."""
        try:
            self.socket.send(encode_valid(_encoder.encode, message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        self._context.term()
