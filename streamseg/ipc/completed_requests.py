"""Commands that were carried out, at the end of those who do: a control process that dies forgets what it answered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from streamseg.ipc.commands import Command, Outcome

_MAX_ENTRIES: Final = 64


class CompletedRequests:
    """The newest outcomes by their request, so that one which comes again is not done twice."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()

    def find(self, command: Command) -> Outcome | None:
        """Return the outcome of the command that the same request led to before."""
        outcome = self._outcomes.get(command.request) if command.request else None
        return None if outcome is None else msgspec.structs.replace(outcome, number=command.number)

    def keep(self, command: Command, outcome: Outcome) -> None:
        """Take note of an outcome, unless the same request may have another one later."""
        if not command.request or (outcome.error is not None and outcome.error.retryable):
            return
        self._outcomes[command.request] = outcome
        if len(self._outcomes) > _MAX_ENTRIES:
            self._outcomes.popitem(last=False)
