"""Requests for clips, passed from the recorder's main thread to the clip thread."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from typing import Final

import msgspec

from streamseg.errors import ControlError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.completed_requests import CompletedRequests
from streamseg.protocol.arguments import RecordClip
from streamseg.protocol.control import ErrorBody, control_error
from streamseg.protocol.results import ClipStarted
from streamseg.protocol.text import encode_json

log = logging.getLogger(__name__)

_MAX_WAITING: Final = 64

Start = Callable[[str, RecordClip], ClipStarted]
"""Begins a clip of a stream; raises ControlError if it cannot."""


class ClipRequests:
    """Requests that wait for the clip thread.

    Args:
        answer: Called with each outcome, by either thread.
    """

    def __init__(self, answer: Callable[[Outcome], None]) -> None:
        self._answer = answer
        self._waiting: queue.Queue[Command] = queue.Queue(_MAX_WAITING)
        self._completed = CompletedRequests()

    def put(self, command: Command) -> None:
        """Queue a request, or refuse it if too many are waiting."""
        try:
            self._waiting.put_nowait(command)
        except queue.Full:
            self._answer(_failed(command, control_error("BUSY", f"{_MAX_WAITING} requests for clips wait: try again")))

    def execute(self, start: Start) -> None:
        """Execute the waiting requests, each once even if it was sent twice."""
        while True:
            try:
                command = self._waiting.get_nowait()
            except queue.Empty:
                return
            outcome = self._completed.find(command) or _execute(command, start)
            self._completed.keep(command, outcome)
            self._answer(outcome)

    def refuse(self, reason: str, timeout_s: float) -> None:
        """Refuse the waiting requests, or the next one within ``timeout_s``."""
        try:
            command = self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return
        self._answer(_failed(command, control_error("BUSY", f"record_clip: no clips at the moment: {reason}")))


def _execute(command: Command, start: Start) -> Outcome:
    try:
        started = start(command.stream, msgspec.json.decode(command.args, type=RecordClip))
    except ControlError as error:
        return _failed(command, error)
    except Exception as error:
        log.exception("record_clip %s failed", command.stream)
        return _failed(command, control_error("INTERNAL", f"record_clip failed: {type(error).__name__}: {error}"))
    return Outcome(command.number, encode_json(started))


def _failed(command: Command, error: ControlError) -> Outcome:
    return Outcome(command.number, error=ErrorBody.of(error))
