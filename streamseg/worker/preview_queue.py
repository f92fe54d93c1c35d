"""Decides when previews run, so that all viewers together slow tracked frames down by less than a tenth.

A hovering viewer requests a mask several times a second, and each preview takes device time from the frames. A share of
the time (``_SHARE``) is credited as it passes, and spent by previews that delay a frame. Previews while no frame waits
cost nothing. Without credit, previews wait here; other commands overtake them.

Clicks that start an object run through the model in one batch per stream. Any other preview runs alone, so that a frame
waits for one at most.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from streamseg.ipc.commands import Command, Outcome
from streamseg.protocol.arguments import AddPrompt
from streamseg.protocol.control import ErrorBody

_SHARE: Final = 0.08
"""Share of the time that previews may take from frames. Handling their requests takes the rest of a tenth."""
_KEEP_S: Final = 0.5
"""Credit is kept for this long, so that the first preview after a pause runs at once."""
_MAX_WAITING: Final = 32
_MAX_AT_ONCE: Final = 8
"""Clicks that run together."""
_MAX_WAIT_S: Final = 2.0
"""A preview that waits longer is refused: the mouse has moved on."""


class _Waiting(NamedTuple):
    """A preview that waits.

    Attributes:
        since_s: When it arrived.
        command: The request.
        is_click: Whether it is a single click that starts an object.
    """

    since_s: float
    command: Command
    is_click: bool


class PreviewQueue:
    """Previews that wait for their turn, oldest first. Used by the worker's thread.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._credit_s = _SHARE * _KEEP_S
        self._credited_at = clock()

    def add(self, command: Command) -> Outcome | None:
        """Take a preview; return the refusal of the oldest one if there are too many."""
        self._waiting.append(_Waiting(self._clock(), command, _starts_by_click(command)))
        return _refusal(self._waiting.popleft().command) if len(self._waiting) > _MAX_WAITING else None

    def take_late(self) -> Outcome | None:
        """Return the refusal of a preview that has waited for too long, if there is one."""
        if self._waiting and self._clock() - self._waiting[0].since_s > _MAX_WAIT_S:
            return _refusal(self._waiting.popleft().command)
        return None

    def take(self) -> list[Command]:
        """Return the oldest preview, and those that share a batch with it; none if they may not run now."""
        if self.wait_s() != 0.0:
            return []
        first = self._waiting[0]
        together = [first]
        if first.is_click:
            clicks = (one for one in self._waiting if one.is_click and one.command.stream == first.command.stream)
            together = list(itertools.islice(clicks, _MAX_AT_ONCE))
        self._waiting = deque(one for one in self._waiting if one not in together)
        return [one.command for one in together]

    def wait_s(self) -> float | None:
        """Return the seconds until previews may run; None if none waits."""
        if not self._waiting:
            return None
        now = self._clock()
        self._credit_s = min(self._credit_s + _SHARE * (now - self._credited_at), _SHARE * _KEEP_S)
        self._credited_at = now
        return max(0.0, -self._credit_s / _SHARE)

    def note_run(self, seconds: float) -> None:
        """Charge previews that kept a frame waiting for this long."""
        self._credit_s -= seconds


class _MaybePreview(msgspec.Struct):
    preview: bool = False


def is_preview(command: Command) -> bool:
    """Whether a command asks for a mask and changes nothing."""
    return command.op == "add_prompt" and msgspec.json.decode(command.args, type=_MaybePreview).preview


def _starts_by_click(command: Command) -> bool:
    """Whether a preview is a single click that starts an object."""
    args = msgspec.json.decode(command.args, type=AddPrompt)
    return len(args.points) == 1 and args.box is None and args.object_id is None


def _refusal(command: Command) -> Outcome:
    message = "add_prompt: too many previews are asked for: try again in a moment"
    return Outcome(command.number, error=ErrorBody(code="BUSY", message=message, retryable=True))
