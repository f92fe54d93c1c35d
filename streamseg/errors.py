"""Every error that streamseg raises on purpose.

::

    StreamsegError
    ├── ConfigError            a setting is wrong: names the field, the value and the fix
    │   └── AddressNotHereError    this machine does not have the address to listen on (yet)
    ├── ModelError             a model or checkpoint cannot be fetched, read or built
    ├── PromptError            a prompt cannot be applied to this frame or object
    │   ├── FrameExpiredError      the frame is no longer held
    │   └── NothingToUndoError     the object has no prompt to undo
    ├── SourceError            a video source failed
    │   ├── SourceOpenError        could not be opened (refused, not found, not a video, timeout)
    │   │   ├── SourceAuthError        the server rejected the credentials
    │   │   └── SourceNotFoundError    the server, file or device does not exist
    │   ├── SourceStalledError     was open, then sent nothing for the stall timeout
    │   ├── SourceDisconnectedError  a live source ended
    │   └── EndOfStreamError       the last frame of a file was read; not a failure
    ├── RingError              the frame ring failed or was misused
    │   ├── FrameTooLargeError     a frame does not fit into a slot
    │   ├── RingClosedError        it was closed
    │   └── RingFullError          backpressure: no slot became free within the timeout
    ├── ProtocolError          bytes from a socket are not what the protocol says
    ├── SubscribeTimeoutError  no message arrived within the timeout
    ├── ControlError           the daemon refused a request, or is unreachable: has a code
    ├── RecordError            a recording cannot be written or read
    ├── StateError             a snapshot cannot be written, or is not usable: says why
    ├── DeviceError            the model's device failed: nothing can be tracked in this process
    ├── ProcessError           a child process could not be started or kept running
    └── ServiceError           the systemd service cannot be installed, removed or asked

Messages are written for users: what is wrong, with its value, and what to do. They never contain a password: redact a
URL before it goes into a message (:func:`streamseg.common.redact.redact`).
"""


class StreamsegError(Exception):
    """Base of all errors that streamseg raises on purpose.

    Attributes:
        exit_code: Exit code of the command line when this error ends it.
    """

    exit_code = 1


class ConfigError(StreamsegError):
    """A setting is wrong. The message names the field's path, its value and the fix."""

    exit_code = 2


class AddressNotHereError(ConfigError):
    """This machine does not have the address to listen on, maybe only not yet: a later start may succeed."""

    exit_code = 6


class ModelError(StreamsegError):
    """A model or checkpoint cannot be fetched, read or built."""

    exit_code = 3


class PromptError(StreamsegError):
    """A prompt cannot be applied."""


class FrameExpiredError(PromptError):
    """The frame that a prompt names is no longer held. The message names it, and the oldest and newest frames held."""


class NothingToUndoError(PromptError):
    """The object has no prompt to undo."""


class SourceError(StreamsegError):
    """A video source failed."""

    exit_code = 4


class SourceOpenError(SourceError):
    """The source could not be opened."""


class SourceAuthError(SourceOpenError):
    """The server rejected the credentials."""


class SourceNotFoundError(SourceOpenError):
    """The server does not have this stream, or the file or device does not exist."""


class SourceStalledError(SourceError):
    """The source was open, then sent no frame within the stall timeout."""


class SourceDisconnectedError(SourceError):
    """A live source ended."""


class EndOfStreamError(SourceError):
    """The last frame of a file was read. Not a failure."""


class RingError(StreamsegError):
    """The frame ring failed or was misused."""


class FrameTooLargeError(RingError):
    """A frame does not fit into a slot of the ring."""


class RingClosedError(RingError):
    """The ring was closed."""


class RingFullError(RingError):
    """No slot became free within the timeout."""


class ProtocolError(StreamsegError):
    """Bytes from a socket are not what the protocol says."""


class SubscribeTimeoutError(StreamsegError, TimeoutError):
    """No message arrived within the timeout."""


class ControlError(StreamsegError):
    """The daemon refused a request, or cannot be reached.

    Args:
        code: Stable name, for programs: see ``docs/protocol.md``, "Control"; ``UNREACHABLE`` if no daemon answered.
        message: What is wrong and how to fix it.
        retryable: The same request may succeed later.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.exit_code = 2 if code in ("BAD_REQUEST", "BAD_CONFIG") else 1


class RecordError(StreamsegError):
    """A recording cannot be written, for example because the disk is full, or read."""


class StateError(StreamsegError):
    """A snapshot of tracked objects cannot be written or read, or is not usable. The message says why."""


class DeviceError(StreamsegError):
    """The model's device failed: nothing can be tracked in this process. A new process may work."""

    exit_code = 5


class ProcessError(StreamsegError):
    """A child process could not be started or kept running."""

    exit_code = 5


class ServiceError(StreamsegError):
    """The system service cannot be installed, removed or queried."""


def reason_of(error: Exception) -> str:
    """Return an error as text for a report: its message, with its type unless it is one of streamseg's own."""
    return str(error) if isinstance(error, StreamsegError) else f"{type(error).__name__}: {error}"
