"""Which requests a key allows, by role and by stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from streamseg.control.parse import ParsedRequest
from streamseg.protocol.control import control_error
from streamseg.security.authorized_keys import AuthorizedKey

READ_ONLY_OPS: Final = frozenset({"hello", "list", "snapshot", "get_status", "get_settings"})
_OF_THE_DAEMON: Final = frozenset({"add_stream", "remove_stream", "reload"})
"""A new stream can read any file the daemon's user can, so a key for some streams is not enough."""


class _Entry(msgspec.Struct):
    stream: str


class _Listing(msgspec.Struct):
    streams: list[msgspec.Raw]


def check_access(holder: AuthorizedKey | None, request: ParsedRequest) -> None:
    """Check that a request is allowed.

    Args:
        holder: Holder of the key; None for the daemon's own user, who may do everything.
        request: The request.

    Raises:
        ControlError: it is not.
    """
    if holder is None:
        return
    if holder.role != "control" and request.op not in READ_ONLY_OPS:
        raise control_error(
            "FORBIDDEN", f"{request.op}: key {holder.name!r} may only watch: authorize it with --role control"
        )
    if request.op in _OF_THE_DAEMON and not holder.is_for_all:
        raise control_error("FORBIDDEN", f"{request.op} needs a key for all streams: {holder.name!r} is not")
    if request.stream and not holder.is_for(request.stream):
        raise control_error(
            "FORBIDDEN", f"key {holder.name!r} is not for stream {request.stream!r}: {', '.join(holder.streams)}"
        )


def visible(holder: AuthorizedKey | None, streams: Iterable[str]) -> tuple[str, ...]:
    """Return the streams that a key gives access to."""
    return tuple(stream for stream in streams if holder is None or holder.is_for(stream))


def visible_listing(holder: AuthorizedKey | None, listing: bytes) -> bytes:
    """Return the result of ``list`` with only the streams that a key gives access to."""
    if holder is None or holder.is_for_all:
        return listing
    entries = msgspec.json.decode(listing, type=_Listing).streams
    return msgspec.json.encode(
        _Listing([one for one in entries if holder.is_for(msgspec.json.decode(one, type=_Entry).stream)])
    )
