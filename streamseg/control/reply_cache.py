"""ReplyCache that were given, so that a request that comes twice is done once. Bounded."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from streamseg.control.parse import ParsedRequest
from streamseg.control.pending import Key
from streamseg.errors import ControlError
from streamseg.protocol.control import control_error

MAX_ANSWERS: Final = 1000
MAX_BYTES: Final = 8 * 1024 * 1024


class ReplyCache:
    """The newest answers by client and request id.

    Args:
        most: Most answers.
        most_bytes: Most bytes of all answers together.
    """

    def __init__(self, most: int = MAX_ANSWERS, most_bytes: int = MAX_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._answers: OrderedDict[Key, tuple[bytes, bytes]] = OrderedDict()

    def find(self, key: Key, asked: ParsedRequest) -> bytes | None:
        """Return the answer that was given to this request.

        Raises:
            ControlError: the id was used for another request.
        """
        found = self._answers.get(key)
        if found is None:
            return None
        digest, answer = found
        if digest != digest_of(asked):
            raise reused(asked)
        self._answers.move_to_end(key)
        return answer

    def keep(self, key: Key, asked: ParsedRequest, answer: bytes) -> None:
        """Keep an answer; the oldest go where it gets too much."""
        self._answers[key] = (digest_of(asked), answer)
        self._bytes += len(answer)
        while len(self._answers) > self._most or self._bytes > self._most_bytes:
            _, (_, oldest) = self._answers.popitem(last=False)
            self._bytes -= len(oldest)


def digest_of(asked: ParsedRequest) -> bytes:
    """What two requests for the same have in common."""
    return hashlib.blake2b(asked.data, digest_size=16).digest()


def reused(asked: ParsedRequest) -> ControlError:
    """Return the error of an id that stands for two requests."""
    return control_error("BAD_REQUEST", f"id {asked.id!r} was used for another request: choose a new one for each")
