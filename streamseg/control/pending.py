"""Commands that somebody waits for, each with its time-out. Bounded."""

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
"""After its time-out a command may still be done; so long a repeated request gets its outcome."""


@dataclass(slots=True)
class Pending:
    """A command on its way.

    Attributes:
        number: Of the command.
        key: Client and id of the request.
        asked: The request.
        target: Who carries it out.
        deadline: When those that wait are told that it takes too long; later, when it is forgotten.
        receivers: Connections that wait for the answer; none after the time-out.
    """

    number: int
    key: Key
    asked: ParsedRequest
    target: Target
    deadline: float
    receivers: list[bytes] = field(default_factory=list)


class PendingTable:
    """All commands on their way.

    Args:
        timeout_s: Longest wait for an outcome.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._by_number: dict[int, Pending] = {}
        self._by_key: dict[Key, Pending] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def find(self, key: Key) -> Pending | None:
        """Return the command that a request has led to."""
        return self._by_key.get(key)

    def add(self, number: int, key: Key, asked: ParsedRequest, target: Target, receiver: bytes, now: float) -> None:
        """Take a command in.

        Raises:
            ControlError: too many wait, or too many of this connection.
        """
        if len(self) >= MAX_PENDING:
            raise control_error("BUSY", f"{MAX_PENDING} requests are waiting: try again")
        if sum(receiver in pending.receivers for pending in self._by_number.values()) >= MAX_OF_ONE_CONNECTION:
            raise control_error("BUSY", f"{MAX_OF_ONE_CONNECTION} requests of yours are waiting: wait for an answer")
        pending = Pending(number, key, asked, target, now + self._timeout_s, [receiver])
        self._by_number[number] = self._by_key[key] = pending

    def join(self, pending: Pending, receiver: bytes, now: float) -> None:
        """Let one more connection wait; after a time-out they wait anew."""
        if not pending.receivers:
            pending.deadline = now + self._timeout_s
        if receiver not in pending.receivers:
            pending.receivers = [*pending.receivers, receiver][-_MAX_RECEIVERS:]

    def pop(self, number: int) -> Pending | None:
        """Return the command that an outcome belongs to, and forget it."""
        pending = self._by_number.pop(number, None)
        if pending is not None:
            del self._by_key[pending.key]
        return pending

    def pop_target(self, target: Target) -> list[Pending]:
        """Return all commands that were given to somebody who died, and forget them."""
        numbers = [number for number, pending in self._by_number.items() if pending.target == target]
        return [pending for number in numbers if (pending := self.pop(number)) is not None]

    def time_out(self, now: float) -> list[tuple[Pending, list[bytes]]]:
        """Return the commands that take too long now, with those who wait for them."""
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
        """When :meth:`time_out` has something to do next."""
        return min((pending.deadline for pending in self._by_number.values()), default=None)
