"""Replies to executed requests, so that a repeated request is not executed twice. Bounded.

Ours because bytes as well as entries are limited, and reusing an id for a different request is an error; ``cachetools``
has neither, and the rest is an ``OrderedDict``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from streamseg.control.parse import ParsedRequest
from streamseg.control.pending import Key
from streamseg.errors import ControlError
from streamseg.protocol.control import control_error

MAX_REPLIES: Final = 1000
MAX_BYTES: Final = 8 * 1024 * 1024


class ReplyCache:
    """The newest replies by client and request id.

    Args:
        max_replies: Maximum number of replies.
        max_bytes: Maximum total size.
    """

    def __init__(self, max_replies: int = MAX_REPLIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_replies = max_replies
        self._max_bytes = max_bytes
        self._bytes = 0
        self._replies: OrderedDict[Key, tuple[bytes, bytes]] = OrderedDict()

    def find(self, key: Key, request: ParsedRequest) -> bytes | None:
        """Return the reply to an earlier request with the same key, if any.

        Raises:
            ControlError: the id was used for a different request.
        """
        found = self._replies.get(key)
        if found is None:
            return None
        digest, reply = found
        if digest != digest_of(request):
            raise id_reused(request)
        self._replies.move_to_end(key)
        return reply

    def keep(self, key: Key, request: ParsedRequest, reply: bytes) -> None:
        """Add a reply; the oldest are dropped to stay within the limits."""
        self._replies[key] = (digest_of(request), reply)
        self._bytes += len(reply)
        while len(self._replies) > self._max_replies or self._bytes > self._max_bytes:
            _, (_, oldest) = self._replies.popitem(last=False)
            self._bytes -= len(oldest)


def digest_of(request: ParsedRequest) -> bytes:
    """Return a digest that is equal for requests with the same content."""
    return hashlib.blake2b(request.data, digest_size=16).digest()


def id_reused(request: ParsedRequest) -> ControlError:
    """Return the error for an id that is used for two different requests."""
    return control_error("BAD_REQUEST", f"id {request.id!r} was used for another request: use a new id for each")
