"""Commands from the control process to those that carry them out, and what became of them.

They travel as MessagePack over the ipc socket to the worker (``streamseg/ipc/command_socket.py``), and over the
supervisor's link (``streamseg/ipc/supervisor_link.py``). The control process has checked the arguments; they stay JSON,
and so does the result, which it passes on unread.
"""

from __future__ import annotations

import msgspec

from streamseg.protocol.control import ErrorBody


class Command(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Something to do.

    Attributes:
        number: Of this command; its outcome carries it again.
        op: Operation, as in ``protocol/control.py``.
        stream: Which stream; empty for none.
        args: JSON of the operation's arguments.
        request: Names the request that led to it, the same when that comes again; empty if it may be done twice.
    """

    number: int
    op: str
    stream: str
    args: bytes
    request: str = ""


class Outcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What became of a command.

    Attributes:
        number: Of the command.
        result: JSON of the operation's result; empty if it failed.
        error: Why it failed.
    """

    number: int
    result: bytes = b""
    error: ErrorBody | None = None


class StatusCopy(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A status message that was just published, for clients that ask: publisher to control process.

    Attributes:
        stream: Id of the stream, ``_daemon`` for the daemon.
        status: JSON as published.
    """

    stream: str
    status: bytes


ToControl = Outcome | StatusCopy

_encoder = msgspec.msgpack.Encoder()
_commands = msgspec.msgpack.Decoder(Command)
_to_control: msgspec.msgpack.Decoder[ToControl] = msgspec.msgpack.Decoder(ToControl)


def encode(message: Command | ToControl) -> bytes:
    """Turn a message into bytes."""
    return _encoder.encode(message)


def decode_command(data: bytes) -> Command:
    """Turn bytes into a command.

    Raises:
        msgspec.DecodeError: they are none; between our own processes that is a bug.
    """
    return _commands.decode(data)


def decode_to_control(data: bytes) -> ToControl:
    """Turn bytes into what the control process gets.

    Raises:
        msgspec.DecodeError: they are none; between our own processes that is a bug.
    """
    return _to_control.decode(data)
