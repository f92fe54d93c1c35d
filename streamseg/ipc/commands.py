"""Commands from the control process to the worker or the supervisor, and their outcomes.

They travel as MessagePack to the worker over an ipc socket (``streamseg/ipc/command_socket.py``), and to the supervisor
over its link (``streamseg/ipc/supervisor_link.py``). The control process has checked the arguments. They stay JSON, and
so does the result, which it passes on unread.
"""

from __future__ import annotations

import msgspec

from streamseg.protocol.control import ErrorBody
from streamseg.protocol.text import encode_valid


class Command(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A request to execute.

    Attributes:
        number: Number of this command; repeated in its outcome.
        op: Operation, as in ``protocol/control.py``.
        stream: Id of the stream; empty for none.
        args: JSON of the operation's arguments.
        request: Identifies the client's request, so that a retry is not executed twice; empty if it may be.
    """

    number: int
    op: str
    stream: str
    args: bytes
    request: str = ""


class Outcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The result of a command.

    Attributes:
        number: Number of the command.
        result: JSON of the operation's result; empty if it failed.
        error: Why it failed, if it did.
    """

    number: int
    result: bytes = b""
    error: ErrorBody | None = None


class StatusCopy(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A status message that was just published: publisher to control process, for ``get_status``.

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
    """Encode a message."""
    return encode_valid(_encoder.encode, message)


def decode_command(data: bytes) -> Command:
    """Decode a command.

    Raises:
        msgspec.DecodeError: the bytes are not a command, which is a bug between our own processes.
    """
    return _commands.decode(data)


def decode_to_control(data: bytes) -> ToControl:
    """Decode a message to the control process.

    Raises:
        msgspec.DecodeError: the message is invalid, which is a bug between our own processes.
    """
    return _to_control.decode(data)
