"""The state behind ``streamseg top``: a daemon's newest messages, and rates derived from them. No terminal here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    Message,
    ObjectsFrame,
    StatusMessage,
)

PANES: Final = {"o": "objects", "l": "losses", "e": "events", "p": "processes"}
"""Key -> what is shown below the streams."""

_MAX_EVENTS: Final = 200
_SILENT_S: Final = 3.0


@dataclass(slots=True)
class StreamState:
    """The known state of a stream.

    Attributes:
        status: The newest status.
        frame: The newest frame.
        losses_per_s: Losses by stage and reason, between the last two status messages.
    """

    status: StatusMessage | None = None
    frame: ObjectsFrame | None = None
    losses_per_s: Mapping[str, float] = field(default_factory=dict)


class TopState:
    """The state of the screen.

    Args:
        endpoint: Where the daemon publishes.
        now_s: The monotonic clock.

    Attributes:
        endpoint: As given.
        daemon: The newest status of the daemon.
        streams: By id, in the daemon's order.
        events: The newest, oldest first.
        pane: What is shown below the streams.
        selected: The selected stream; empty if there is none.
        problem: Why there is no connection, if known; else empty.
    """

    def __init__(self, endpoint: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.endpoint = endpoint
        self.daemon: DaemonStatusMessage | None = None
        self.streams: dict[str, StreamState] = {}
        self.events: deque[EventMessage] = deque(maxlen=_MAX_EVENTS)
        self.pane = "objects"
        self.selected = ""
        self.problem = ""
        self._now_s = now_s
        self._daemon_s = now_s()

    @property
    def silent_s(self) -> float:
        """Seconds since the daemon's last status, or since the start; 0 while it is not silent."""
        since_s = self._now_s() - self._daemon_s
        return since_s if since_s > _SILENT_S else 0.0

    @property
    def shown(self) -> StreamState | None:
        """The selected stream."""
        return self.streams.get(self.selected)

    def feed(self, message: Message) -> None:
        """Take a message."""
        match message:
            case DaemonStatusMessage():
                self._daemon_status(message)
            case EventMessage():
                self.events.append(message)
            case StatusMessage() if message.stream in self.streams:
                stream = self.streams[message.stream]
                stream.losses_per_s = _losses_per_s(stream.status, message)
                stream.status = message
            case ObjectsFrame() if message.stream in self.streams:
                self.streams[message.stream].frame = message

    def press(self, key: str) -> bool:
        """Handle a key; return whether to go on."""
        panes = list(PANES.values())
        match key:
            case "q" | "end":
                return False
            case "up" | "k":
                self._select(-1)
            case "down" | "j":
                self._select(1)
            case "tab":
                self.pane = panes[(panes.index(self.pane) + 1) % len(panes)]
            case "back tab":
                self.pane = panes[(panes.index(self.pane) - 1) % len(panes)]
            case _ if key in PANES:
                self.pane = PANES[key]
        return True

    def _select(self, step: int) -> None:
        names = list(self.streams)
        if names:
            at = names.index(self.selected) if self.selected in names else 0
            self.selected = names[(at + step) % len(names)]

    def _daemon_status(self, message: DaemonStatusMessage) -> None:
        restarted = self.daemon is not None and self.daemon.session != message.session
        old = {} if restarted else self.streams
        self.daemon, self._daemon_s = message, self._now_s()
        self.streams = {name: old.get(name) or StreamState() for name in message.streams}
        if self.selected not in self.streams:
            self.selected = next(iter(self.streams), "")


def _losses_per_s(old: StatusMessage | None, new: StatusMessage) -> dict[str, float]:
    if old is None or old.session != new.session or new.t_wall_ns <= old.t_wall_ns:
        return {}
    seconds = (new.t_wall_ns - old.t_wall_ns) / 1e9
    counts = {reason: count - old.drops.get(reason, 0) for reason, count in new.drops.items()}
    return {reason: count / seconds for reason, count in counts.items() if count > 0}
