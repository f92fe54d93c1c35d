"""Results of executed requests, so that a retry is not executed twice.

The worker and the supervisor keep them, because the control process loses its replies when it dies.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from streamseg.ipc.commands import Command, Outcome

_MAX_ENTRIES: Final = 64


class CompletedRequests:
    """The newest outcomes by request."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()

    def find(self, command: Command) -> Outcome | None:
        """Return the outcome of an earlier command for the same request, if there was one."""
        outcome = self._outcomes.get(command.request) if command.request else None
        return None if outcome is None else msgspec.structs.replace(outcome, number=command.number)

    def keep(self, command: Command, outcome: Outcome) -> None:
        """Store an outcome, unless it is a retryable error."""
        if not command.request or (outcome.error is not None and outcome.error.retryable):
            return
        self._outcomes[command.request] = outcome
        if len(self._outcomes) > _MAX_ENTRIES:
            self._outcomes.popitem(last=False)
