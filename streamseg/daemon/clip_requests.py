"""Requests for clips, passed on from the control process to the recorder, which answers them."""

from __future__ import annotations

from collections.abc import Mapping

from streamseg.daemon.child import Child
from streamseg.daemon.process_table import RECORDER, ProcessTable
from streamseg.ipc.commands import Command, Outcome
from streamseg.protocol.control import ErrorBody, control_error


class ClipRequests:
    """Passes requests on to the recorder.

    Args:
        table: Holds the settings in use.
        children: The processes, by name.
    """

    def __init__(self, table: ProcessTable, children: Mapping[str, Child]) -> None:
        self._table = table
        self._children = children

    def forward(self, command: Command) -> Outcome | None:
        """Send a request to the recorder; return why it failed if it cannot be sent."""
        record = self._table.config.record
        if record.clips.path is None:
            error = control_error(
                "BAD_CONFIG",
                "record_clip: this daemon makes no clips: set record.clips.path in its configuration, and restart it",
            )
        elif record.streams and command.stream not in record.streams:
            streams = ", ".join(record.streams)
            error = control_error("BAD_CONFIG", f"record_clip: record.streams names {streams}, not {command.stream}")
        else:
            recorder = self._children.get(RECORDER)
            if recorder is not None and recorder.state == "ready" and recorder.offer(command):
                return None
            error = control_error("BUSY", "record_clip: the recorder is starting or busy: try again in a few seconds")
        return Outcome(command.number, error=ErrorBody.of(error))
