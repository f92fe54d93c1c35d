"""What the supervisor says to its children, and a child to the supervisor, over the line between them.

Pickled: between our own processes of one start, over a nameless socket pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.ring.frame_ring import FrameRing, RingShape


@dataclass(frozen=True, slots=True)
class Report:
    """What a child says of itself.

    Attributes:
        kind: ``ready``, ``progress`` (still alive: sent as often as the child's loop turns, at most once a
            second), ``subscribed`` (publisher: somebody subscribes to masks, objects or
            pictures), ``ended`` (capture: a file is at its end), ``fatal`` (no restart would help).
        text: For people.
        exit_code: With ``fatal``: what the daemon should exit with.
    """

    kind: Literal["ready", "progress", "subscribed", "ended", "fatal"]
    text: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class PromptsSaved:
    """Worker: what it would take to follow a stream's objects again. Sent before the change is confirmed to anybody."""

    stream: str
    saved: SavedStream


ChildMessage = Report | PromptsSaved | Command
"""What a child says; a :class:`~streamseg.ipc.commands.Command` comes from the control process."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Worker and publisher: there is one more stream.

    Attributes:
        stream: Its id.
        settings: Of it.
        source: Its address, without credentials.
        shape: Of its ring, whose descriptors follow the order.
        ring: The ring; set by the receiving end.
    """

    stream: str
    settings: StreamConfig
    source: str
    shape: RingShape
    ring: FrameRing | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Worker and publisher: a stream is no more."""

    stream: str


@dataclass(frozen=True, slots=True)
class ChangeStream:
    """Worker: a stream has other settings now.

    Attributes:
        stream: Its id.
        settings: The new ones.
        removed: Ids of objects to follow no longer.
        prompts: Objects that are new or whose prompt is another now.
    """

    stream: str
    settings: StreamConfig
    removed: tuple[int, ...]
    prompts: tuple[PromptConfig, ...]


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """Control process: what it tells clients of the daemon, and needs in order to refuse.

    Attributes:
        streams: Ids of all streams.
        publish: Where masks are published.
    """

    streams: tuple[str, ...]
    publish: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """Control process: the worker died; nobody answers the commands that it had."""


SupervisorMessage = OpenStream | CloseStream | ChangeStream | DaemonInfo | WorkerGone | Outcome
"""What the supervisor says; an :class:`~streamseg.ipc.commands.Outcome` answers a command."""
