"""Every error that streamseg raises on purpose.

::

    StreamsegError
    ├── ConfigError            a setting is wrong: names the field, the value and the mend
    ├── ModelError             a model or checkpoint cannot be had, read or built
    ├── PromptError            a prompt cannot be applied to this frame or object
    │   ├── FrameExpiredError      the frame is no longer held
    │   └── NothingToUndoError     the object has no prompt that could be taken back
    ├── SourceError            a video source failed
    │   ├── SourceOpenError        could not be opened (refused, not found, not a video, time-out)
    │   │   ├── SourceAuthError        the server wants other credentials
    │   │   └── SourceNotFoundError    the server, disk or machine does not have it
    │   ├── SourceStalledError     was open, then gave nothing for the stall time-out
    │   ├── SourceDisconnectedError  was open, then ended although it is live
    │   └── EndOfStreamError       a file's last frame was read; not a fault
    ├── RingError              the frame ring was used wrongly
    │   ├── FrameTooLargeError     a frame does not fit into a slot
    │   ├── RingClosedError        it was closed
    │   └── RingFullError          back-pressure: no slot came free within the time-out
    ├── ProtocolError          bytes from a socket are not what the protocol says
    ├── SubscribeTimeoutError  no message came within the time-out
    ├── ControlError           the daemon did not do what was asked: has a code
    └── ProcessError           a child process could not be started or kept running

Messages are for the person at the keyboard: what was wrong, with its value, and what to do. They never hold a
password: whoever puts a URL into a message redacts it first (:func:`streamseg.common.redact.redact`).
"""


class StreamsegError(Exception):
    """Base of all errors that streamseg raises on purpose.

    Attributes:
        exit_code: What the command line exits with when this error ends it.
    """

    exit_code = 1


class ConfigError(StreamsegError):
    """A setting is wrong. The message names the field's path, its value and the mend."""

    exit_code = 2


class ModelError(StreamsegError):
    """A model or checkpoint cannot be had, read or built."""

    exit_code = 3


class PromptError(StreamsegError):
    """A prompt cannot be applied."""


class FrameExpiredError(PromptError):
    """The frame that a prompt is meant for is no longer held. The message names it, the oldest and the newest held."""


class NothingToUndoError(PromptError):
    """The object has no prompt that could be taken back."""


class SourceError(StreamsegError):
    """A video source failed."""

    exit_code = 4


class SourceOpenError(SourceError):
    """The source could not be opened."""


class SourceAuthError(SourceOpenError):
    """The server wants other credentials."""


class SourceNotFoundError(SourceOpenError):
    """The server does not have this stream, the disk this file, or the machine this device."""


class SourceStalledError(SourceError):
    """The source was open, then gave no frame within the stall time-out."""


class SourceDisconnectedError(SourceError):
    """A live source was open and then ended."""


class EndOfStreamError(SourceError):
    """The last frame of a file was read. Not a fault."""


class RingError(StreamsegError):
    """The frame ring was used wrongly."""


class FrameTooLargeError(RingError):
    """A frame does not fit into a slot of the ring."""


class RingClosedError(RingError):
    """The ring was closed."""


class RingFullError(RingError):
    """No slot came free within the time-out."""


class ProtocolError(StreamsegError):
    """Bytes from a socket are not what the protocol says."""


class SubscribeTimeoutError(StreamsegError, TimeoutError):
    """No message came within the time-out."""


class ControlError(StreamsegError):
    """The daemon did not do what was asked.

    Args:
        code: For programs: one of ``docs/protocol.md``, "Control"; ``UNREACHABLE`` if no daemon answered.
        message: For people.
        retryable: The same request may succeed when it is sent again.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.exit_code = 2 if code in ("BAD_REQUEST", "BAD_CONFIG") else 1


class ProcessError(StreamsegError):
    """A child process could not be started or kept running."""

    exit_code = 5
