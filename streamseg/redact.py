"""Take credentials out of text before it is logged, published or shown."""

from __future__ import annotations

import re
from typing import Final

# An address ends at white space, or at a quote that closes it: one that the text goes on after, as JSON or a repr
# does. Any other quote may belong to a password.
_ADDRESS_END: Final = re.compile(r"(\s+|['\"](?=[,;:)\]}>]|$))")
_USERINFO: Final = re.compile(r"://[^\s:/?#@]*:")
# Cameras take passwords as `?pwd=...`, but also as a path: `/user=admin&password=...` and `/user=admin_password=...`.
_TELLING: Final = (
    r"password|passwd|passphrase|passcode|pwd|token|secret|api[_-]?key|access[_-]?key|private[_-]?key|signature"
)
_ASSIGNED: Final = re.compile(
    rf"(?P<key>(?:{_TELLING})=)(?:\"[^\"\n]*\"|'[^'\n]*'|[^&;,\s'\"]+)|"
    r"(?P<short>[?&;](?:pass|auth|key|sig|psw|usr_pwd)=)[^&;,\s'\"]+",
    re.IGNORECASE,
)
# `"password": "..."`, as in JSON or a repr. Without quotes a colon is prose ("the password: see the manual").
_QUOTED: Final = re.compile(
    rf"(?P<key>['\"][a-z_-]{{0,32}}(?:{_TELLING})['\"]\s{{0,8}}:\s{{0,8}})(?:\"[^\"\n]*\"|'[^'\n]*')", re.IGNORECASE
)
_AUTHORIZATION: Final = re.compile(r"(?P<key>authorization['\"]?\s{0,8}[:=]\s{0,8}['\"]?\w+\s)[^\r\n]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Return ``text`` with every password in it replaced by ``***``.

    In an address, everything from the user name's colon to the *last* ``@`` goes, so that passwords with an
    unencoded ``@``, ``/``, ``?`` or ``#`` are covered too. Settings with telling names (``password=``, ``token=``)
    and the credentials of HTTP headers go as well. When in doubt it takes too much. Takes time linear in the length
    of ``text``; redacting twice changes nothing more.
    """
    if "@" in text and "://" in text:
        text = "".join(_without_userinfo(piece) for piece in _ADDRESS_END.split(text))
    text = _AUTHORIZATION.sub(lambda match: f"{match['key']}***", text)
    text = _ASSIGNED.sub(lambda match: f"{match['key'] or match['short']}***", text)
    return _QUOTED.sub(lambda match: f'{match["key"]}"***"', text)


def _without_userinfo(piece: str) -> str:
    at = piece.rfind("@")
    if at < 0 or (found := _USERINFO.search(piece, 0, at)) is None:
        return piece
    return f"{piece[: found.end()]}***{piece[at:]}"
