"""Commands in progress and the clients that wait for them, each with a timeout. Bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from streamseg.control.parse import ParsedRequest
from streamseg.protocol.control import control_error

Target = Literal["worker", "supervisor"]
Key = tuple[str, str]
"""Client and request id."""

MAX_PENDING: Final = 256
MAX_OF_ONE_CONNECTION: Final = 32
_MAX_RECEIVERS: Final = 4
_REMEMBERED_S: Final = 60.0
"""A command may still complete after its timeout. Until then, a repeated request waits for its outcome."""


@dataclass(slots=True)
class Pending:
    """A command in progress.

    Attributes:
        number: Number of the command.
        key: Client and id of the request.
        request: The request.
        target: The process that executes it.
        deadline: When it times out; after that, when it is forgotten.
        receivers: Connections that wait for the reply; empty after the timeout.
    """

    number: int
    key: Key
    request: ParsedRequest
    target: Target
    deadline: float
    receivers: list[bytes] = field(default_factory=list)


class PendingTable:
    """All commands in progress.

    Args:
        timeout_s: Timeout of a command.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._by_number: dict[int, Pending] = {}
        self._by_key: dict[Key, Pending] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def find(self, key: Key) -> Pending | None:
        """Return the command of a request, if it is in progress."""
        return self._by_key.get(key)

    def add(self, number: int, key: Key, request: ParsedRequest, target: Target, receiver: bytes, now: float) -> None:
        """Add a command.

        Raises:
            ControlError: too many commands are pending, in all or for this connection.
        """
        if len(self) >= MAX_PENDING:
            raise control_error("BUSY", f"{MAX_PENDING} requests are waiting: try again later")
        if sum(receiver in pending.receivers for pending in self._by_number.values()) >= MAX_OF_ONE_CONNECTION:
            raise control_error("BUSY", f"{MAX_OF_ONE_CONNECTION} of your requests are waiting: wait for a reply")
        pending = Pending(number, key, request, target, now + self._timeout_s, [receiver])
        self._by_number[number] = self._by_key[key] = pending

    def join(self, pending: Pending, receiver: bytes, now: float) -> None:
        """Add a connection that waits; after a timeout, this restarts the timeout."""
        if not pending.receivers:
            pending.deadline = now + self._timeout_s
        if receiver not in pending.receivers:
            pending.receivers = [*pending.receivers, receiver][-_MAX_RECEIVERS:]

    def pop(self, number: int) -> Pending | None:
        """Remove and return a command."""
        pending = self._by_number.pop(number, None)
        if pending is not None:
            del self._by_key[pending.key]
        return pending

    def pop_target(self, target: Target) -> list[Pending]:
        """Remove and return all commands of a process that died."""
        numbers = [number for number, pending in self._by_number.items() if pending.target == target]
        return [pending for number in numbers if (pending := self.pop(number)) is not None]

    def time_out(self, now: float) -> list[tuple[Pending, list[bytes]]]:
        """Return the commands that have just timed out, with the connections that waited."""
        late = []
        for pending in [one for one in self._by_number.values() if now >= one.deadline]:
            if pending.receivers:
                late.append((pending, pending.receivers))
                pending.receivers = []
                pending.deadline = now + _REMEMBERED_S
            else:
                self.pop(pending.number)
        return late

    def next_deadline(self) -> float | None:
        """Return when :meth:`time_out` is next due."""
        return min((pending.deadline for pending in self._by_number.values()), default=None)
