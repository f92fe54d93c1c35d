"""Messages between the supervisor and its children.

They are pickled: both ends are our own processes of the same run, over an unnamed socket pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamseg.config.schema import PromptConfig, StreamConfig
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.ring.frame_ring import FrameRing, RingShape


@dataclass(frozen=True, slots=True)
class Report:
    """State of a child.

    Attributes:
        kind: ``ready``; ``progress`` (the child's loop turns; sent at most once a second); ``subscribed`` (publisher:
            masks, objects or pictures have a subscriber); ``ended`` (capture: end of the file); ``failed`` (an error
            ends the process, a restart may help); ``fatal`` (a restart would not help).
        text: Readable text.
        exit_code: With ``fatal``: exit code for the daemon.
        log_dropped: Lines of the child's log that were dropped so far; set by the link.
        step_s: Worker: seconds that its slowest recent step took; None: unchanged.
    """

    kind: Literal["ready", "progress", "subscribed", "ended", "failed", "fatal"]
    text: str = ""
    exit_code: int = 1
    log_dropped: int = 0
    step_s: float | None = None


@dataclass(frozen=True, slots=True)
class PromptsSaved:
    """Worker: a stream's prompts changed. Sent before the change is confirmed to the client."""

    stream: str
    saved: SavedStream


ChildMessage = Report | PromptsSaved | Command | Outcome
"""From a child: a :class:`~streamseg.ipc.commands.Command` from the control process, an outcome from the recorder."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Worker and publisher: a stream was added.

    Attributes:
        stream: Its id.
        settings: Its settings.
        source: Its address, without credentials.
        saved: The worker's objects, if they differ from the settings.
        shape: Shape of its ring, whose descriptors follow the message.
        ring: The ring; set by the receiving end.
    """

    stream: str
    settings: StreamConfig
    source: str
    shape: RingShape
    ring: FrameRing | None = field(default=None, compare=False)
    saved: SavedStream | None = None


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Worker and publisher: a stream was removed."""

    stream: str


@dataclass(frozen=True, slots=True)
class ChangeStream:
    """Worker: the settings of a stream changed.

    Attributes:
        stream: Its id.
        settings: The new settings.
        removed: Ids of objects to remove.
        prompts: New objects, and objects whose prompt changed.
    """

    stream: str
    settings: StreamConfig
    removed: tuple[int, ...]
    prompts: tuple[PromptConfig, ...]


@dataclass(frozen=True, slots=True)
class SaveMasks:
    """Worker: save all objects with their last masks (:class:`PromptsSaved`); it is about to be replaced."""


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """Control process: the daemon's state, needed to check and answer requests.

    Attributes:
        streams: Ids of all streams.
        publish: Addresses at which masks are published.
        model: Name of the model.
        max_objects: Maximum number of objects per stream.
        sources: Stream -> address of its source, without secrets.
    """

    streams: tuple[str, ...]
    publish: tuple[str, ...]
    model: str
    max_objects: int
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """Control process: the worker died, and its pending commands are lost."""


SupervisorMessage = OpenStream | CloseStream | ChangeStream | SaveMasks | DaemonInfo | WorkerGone | Command | Outcome
"""From the supervisor; a :class:`~streamseg.ipc.commands.Command` is for the recorder, an outcome for control."""
