"""Publishes the supervisor's news: events about processes and streams, and the process table."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from streamseg.common.logs import dropped_lines
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import CONTROL, PUBLISHER, RECORDER, WEB, WORKER
from streamseg.ipc.messages import DaemonReport, StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.protocol.published import EventKind
from streamseg.protocol.topics import DAEMON

_REPORT_S: Final = 1.0
_RECONNECT_S: Final = 1.0
"""Time for the other subscribers to reconnect to a new publisher after the first one; libzmq tries every 0.1 s."""
_MAX_RECONNECT_S: Final = 5.0
"""After this time an event is sent even if no subscriber has reconnected."""

_RESTARTED: Final[dict[str, EventKind]] = {
    PUBLISHER: "publisher_restarted",
    WORKER: "worker_restarted",
    CONTROL: "control_restarted",
    WEB: "web_restarted",
    RECORDER: "recorder_restarted",
    "prompter": "prompter_restarted",
    "capture": "capture_restarted",
}


class Announcer:
    """Sends the supervisor's messages to the publisher. Used by the supervisor's thread.

    Args:
        endpoint: Address of the publisher.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = PublisherSocket(endpoint)
        self._started = time.monotonic()
        self._next_report = 0.0
        self._publisher_died: StreamEvent | None = None
        self._subscribed_at: float | None = None

    def stream_changed(self, kind: EventKind, stream: str) -> None:
        """Announce that a stream was added or removed."""
        self._socket.send_reliable(StreamEvent(stream=DAEMON, kind=kind, t_wall_ns=time.time_ns(), detail=stream))

    def process_died(self, name: str, how: str) -> None:
        """Announce that a process died and will be restarted.

        Args:
            name: Name of the process.
            how: How it ended.
        """
        process, *of = name.split(":")
        detail = ": ".join((*of[1:], how))  # a prompter's event belongs to its stream and names it
        event = StreamEvent(
            stream=of[0] if of else DAEMON, kind=_RESTARTED[process], t_wall_ns=time.time_ns(), detail=detail
        )
        if name == PUBLISHER:
            self._publisher_died, self._subscribed_at = event, None  # no subscriber would receive it now
        else:
            self._socket.send_reliable(event)

    def prompter_failed(self, name: str, why: str) -> None:
        """Announce that a prompter cannot run with its settings and is not restarted."""
        _, stream, prompter = name.split(":")
        self._socket.send_reliable(
            StreamEvent(stream=stream, kind="prompter_failed", t_wall_ns=time.time_ns(), detail=f"{prompter}: {why}")
        )

    def subscribed(self) -> None:
        """Note that the publisher has a first subscriber."""
        self._subscribed_at = time.monotonic()

    def tick(self, children: Iterable[Child], publisher_ready_s: float) -> None:
        """Send waiting events, and the process table once a second.

        Args:
            children: All processes.
            publisher_ready_s: Seconds since the publisher became ready.
        """
        self._socket.flush()
        now = time.monotonic()
        returned = self._subscribed_at is not None and now - self._subscribed_at > _RECONNECT_S
        if self._publisher_died is not None and (returned or publisher_ready_s > _MAX_RECONNECT_S):
            self._socket.send_reliable(self._publisher_died)
            self._publisher_died = None
        if now >= self._next_report:
            self._next_report = now + _REPORT_S
            children = tuple(children)
            self._socket.try_send(
                DaemonReport(
                    uptime_s=now - self._started,
                    processes={child.name: child.state for child in children},
                    restarts={child.name: child.restarts for child in children},
                    log_dropped={
                        "supervisor": dropped_lines(),
                        **{child.name: child.log_dropped for child in children},
                    },
                )
            )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
