"""Take credentials out of text before it is logged, published or shown."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^\s:/?#@]*):(?P<rest>[^\s'\"]*)@")
_QUERY_SECRET = re.compile(
    r"(?P<key>[?&;](?:[a-z_-]*(?:password|passwd|pwd|token|secret|apikey|api_key|auth|key))=)[^&;\s'\"]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """Return ``text`` with every password in an address replaced by ``***``.

    Everything from the user name's colon to the *last* ``@`` of the address goes, so that passwords with an
    unencoded ``@``, ``/``, ``?`` or ``#`` are covered too. Query parameters with telling names go as well.
    """
    text = _USERINFO.sub(lambda m: f"{m['scheme']}{m['user']}:***@", text)
    return _QUERY_SECRET.sub(lambda m: f"{m['key']}***", text)
