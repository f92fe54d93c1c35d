"""Take credentials out of text before it is logged, published or shown."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

# What one rule takes away can uncover something to another; a bound keeps the time linear.
_MAX_PASSES: Final = 8
_LINE_END: Final = re.compile(r"([\r\n]+)")
_SCHEME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_MAX_SCHEME: Final = 16
# Where the next address begins for certain: whatever came before it belongs to none.
_NEXT_ADDRESS: Final = re.compile(rf"[\s'\"][a-zA-Z][a-zA-Z0-9+.-]{{0,{_MAX_SCHEME}}}://")
_SPACE: Final = re.compile(r"\s")
# The quote that opened an address closes it where the text goes on as JSON or a repr does. Any other quote may belong
# to a password.
_CLOSED: Final = {quote: re.compile(rf"\s|{quote}(?=[,;:)\]}}>\s]|$)") for quote in "'\""}
# A host, and a port or nothing: such an address has no user and no password, so what follows it is prose.
_COMPLETE: Final = re.compile(
    r"(?:\[[0-9a-fA-F:.]*\]|localhost|[\w-]+(?:\.[\w-]+)+|(?=/))(?::\d{1,5})?(?:[/?#].*|[.,;:!)'\"\]]*)$"
)
_COMPLETE_IN_QUOTES: Final = re.compile(r"[\w.-]*(?::\d{1,5})?(?:[/?#].*)?$")
_HOST_FOLLOWS: Final = re.compile(r"@[\w\[]")
_PATH_BEGINS: Final = re.compile(r"[/?#]")
# Cameras take passwords as `?pwd=...`, but also as a path: `/user=admin&password=...` and `/user=admin_password=...`.
_TELLING: Final = (
    r"password|passwd|passphrase|passcode|pwd|token|secret|api[_-]?key|access[_-]?key|private[_-]?key|signature"
)
_ASSIGNED: Final = re.compile(
    rf"(?P<key>(?:{_TELLING})=)(?:\"[^\"\n]*\"|'[^'\n]*'|[^&;,\s'\"])+|"
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

    In an address, everything from the user name's colon to the *last* ``@`` that may belong to the address goes, so
    that passwords with an unencoded ``@``, ``/``, ``?``, ``#``, quote or space are covered too; so does a user name
    without a password, which may be a token. Settings with telling names (``password=``, ``token=``) and the
    credentials of HTTP headers go as well. When in doubt it takes too much. Takes time linear in the length of
    ``text``; redacting twice changes nothing more.
    """
    for _ in range(_MAX_PASSES):
        before, text = text, _redact_once(text)
        if text == before:
            break
    return text


def _redact_once(text: str) -> str:
    if "@" in text and "://" in text:
        text = "".join(_without_userinfos(line) for line in _LINE_END.split(text))
    text = _AUTHORIZATION.sub(lambda match: f"{match['key']}***", text)
    text = _ASSIGNED.sub(lambda match: f"{match['key'] or match['short']}***", text)
    return _QUOTED.sub(lambda match: f'{match["key"]}"***"', text)


def _without_userinfos(line: str) -> str:
    if "@" not in line:
        return line
    starts = [0, *(found.start() + 1 for found in _NEXT_ADDRESS.finditer(line)), len(line)]
    return "".join(_without_userinfo(line, start, end) for start, end in pairwise(starts))


def _without_userinfo(line: str, start: int, end: int) -> str:
    """The part of a line, up to where the next address begins for certain, with its addresses redacted."""
    last_at = _last_at(line, start, end)
    kept: list[str] = []
    while (slashes := line.find("://", start, end)) >= 0:
        begin = slashes + 3
        quote = _quote_before(line, slashes)
        found = (_CLOSED[quote] if quote else _SPACE).search(line, begin, end)
        stop = found.start() if found else end
        quoted = found is not None and found[0] == quote
        at = line.rfind("@", begin, stop)
        if at < 0:
            complete = (_COMPLETE_IN_QUOTES if quoted else _COMPLETE).match(line[begin:stop])
            at = -1 if complete else last_at
        elif not quoted or _reopened(line, quote, stop, last_at, end):
            at = max(at, last_at)
        hide_from = _secret_begin(line, begin, stop, at)
        if hide_from is not None:
            kept += [line[start:hide_from], "***"]
            start = at
            stop = max(stop, at)
        kept.append(line[start:stop])
        start = stop
    kept.append(line[start:end])
    return "".join(kept)


def _last_at(line: str, start: int, end: int) -> int:
    """Where the last ``@`` stands that a host follows; -1 if none does."""
    at = line.rfind("@", start, end)
    while at >= 0 and _HOST_FOLLOWS.match(line, at, end) is None:
        at = line.rfind("@", start, at)
    return at


def _reopened(line: str, quote: str, stop: int, at: int, end: int) -> bool:
    """Whether the quote at ``stop`` is part of a password: the ``@`` stands in no string, and another quote closes."""
    return at > stop and line.count(quote, stop, at) % 2 == 1 and line.find(quote, at, end) >= 0


def _quote_before(line: str, slashes: int) -> str:
    """The quote that stands right before the scheme; empty if none does."""
    at = slashes - 1
    while at >= max(0, slashes - _MAX_SCHEME) and line[at] in _SCHEME_CHARACTERS:
        at -= 1
    return line[at] if at >= 0 and line[at] in "'\"" else ""


def _secret_begin(line: str, begin: int, stop: int, at: int) -> int | None:
    """Where the secret part of the user name and password before ``at`` begins; None if there is none."""
    if at < begin:
        return None
    colon = line.find(":", begin, at)
    if colon >= 0:
        return colon + 1
    # A token stands in place of the user name; it holds no space, and an @ in a path is none of it.
    return begin if at < stop and _PATH_BEGINS.search(line, begin, at) is None else None
