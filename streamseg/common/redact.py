"""Removes credentials from text that streamseg did not write itself: FFmpeg's messages, tracebacks, requests.

A source address hides its own secret exactly (:class:`streamseg.sources.address.SourceAddress`). Foreign text does not
mark its secrets, so this module uses patterns and hides too much rather than too little. The patterns are ours because
general scrubbers (``detect-secrets``, ``scrubadub``) look for known kinds of tokens, not for camera addresses, and take
unbounded time.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

# Each rule's result can expose something to another rule. The bound keeps the time linear.
_MAX_PASSES: Final = 8
_LINE_END: Final = re.compile(r"([\r\n]+)")
_SCHEME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_MAX_SCHEME: Final = 16
# The certain beginning of the next address: text before it is not part of it.
_NEXT_ADDRESS: Final = re.compile(rf"[\s'\"][a-zA-Z][a-zA-Z0-9+.-]{{0,{_MAX_SCHEME}}}://")
_SPACE: Final = re.compile(r"\s")
# The quote that opened an address closes it if the following text continues JSON or a repr. Any other quote may be
# part of a password.
_CLOSED: Final = {quote: re.compile(rf"\s|{quote}(?=[,;:)\]}}>\s]|$)") for quote in "'\""}
# A host with an optional port: the address has no user and no password, so the text after it is prose.
_COMPLETE: Final = re.compile(
    r"(?:\[[0-9a-fA-F:.]*\]|localhost|[\w-]+(?:\.[\w-]+)+|(?=/))(?::\d{1,5})?(?:[/?#].*|[.,;:!)'\"\]]*)$"
)
_COMPLETE_IN_QUOTES: Final = re.compile(r"[\w.-]*(?::\d{1,5})?(?:[/?#].*)?$")
# `${NAME}` is what a message tells users to write instead of a password.
_PLACEHOLDER: Final = re.compile(r"\$\{[A-Za-z_]\w*\}")
_HOST_FOLLOWS: Final = re.compile(r"@[\w\[]")
_PATH_BEGINS: Final = re.compile(r"[/?#]")
# Some cameras take passwords in the path: `/user=admin&password=...` and `/user=admin_password=...`.
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
# Query parameters of cameras that are not secret. The value of every other parameter is hidden.
# fmt: off
_HARMLESS: Final = frozenset((
    "user", "usr", "username", "channel", "channelid", "ch", "chn", "cam", "camera", "cameraid", "stream", "streamtype",
    "subtype", "substream", "profile", "unicast", "multicast", "proto", "protocol", "transport", "transportmode",
    "transmode", "tcp", "udp", "enablesrtp", "resolution", "res", "size", "width", "height", "w", "h",
    "x", "y", "fps", "framerate", "rate", "maxfps", "videocodec", "videoencoding", "codec", "encoding", "vcodec",
    "audio", "video", "format", "type", "quality", "compression", "bitrate", "videobitrate", "gop", "rotation",
    "mirror", "flip", "color", "colour", "overlay", "clock", "date", "timeout", "pkt_size", "listen", "mode",
))
# fmt: on
_NUMERIC: Final = frozenset(
    ("w", "h", "x", "y", "width", "height", "fps", "framerate", "rate", "maxfps", "gop", "bitrate")
)
_HARMLESS_WORDS: Final = re.compile(
    r"(?=.{0,32}$)(?:[A-Za-z]*|[A-Za-z]{1,12}[0-9]{1,4}|[0-9]{1,10}[A-Za-z]{0,4})"
    r"(?:[._+*-](?:[A-Za-z]*|[A-Za-z]{1,12}[0-9]{1,4}|[0-9]{1,10}[A-Za-z]{0,4})|(?<=[0-9])x[0-9]{1,5})*"
)
"""Words and numbers (``main``, ``1280x720``, ``h264``), but not mixed letters and digits, as in passwords."""
_HARMLESS_NUMBER: Final = re.compile(r"[0-9]{0,10}(?:\.[0-9]{0,6})?")
# A ; separates parameters for some cameras, but it may be part of a password: it does not end a value.
_PARAMETER: Final = re.compile(r"[^&]+")
_PARAMETER_NAME: Final = re.compile(r"[\w.-]{1,32}(?:\[\])?")
_QUERY_OR_FRAGMENT: Final = re.compile(r"[?#]")
# Text after the last @ of an address whose user has no password: `cam.local/`, `10.0.0.1`, `[::1]`, `cam:554`.
_ADDRESS_OR_DOMAIN: Final = (
    r"(?:\[[0-9a-fA-F:.]+\]|localhost\b|[\w-]+(?:\.[\w-]+)*\.[A-Za-z][\w-]*|[0-9]+(?:\.[0-9]+){3})"
)
_CERTAIN_HOST: Final = re.compile(rf"@(?:{_ADDRESS_OR_DOMAIN}|[\w.-]+:[0-9])")
_HOST_AND_PATH: Final = re.compile(r"@[\w.-]+(?::[0-9]{1,5})?/")
_USER: Final = r"[^/@:]*(?::[^/@]*)?@"
# A host, not a user name with the beginning of a password: text after its ? or # is not part of a password.
_COMPLETE_BEFORE_QUERY: Final = re.compile(
    rf"(?:{_USER}[\w.-]+:[0-9]{{1,5}}|(?:{_USER})?{_ADDRESS_OR_DOMAIN}(?::[0-9]{{1,5}})?)(?:/[^@]*)?"
)
# The last segment of an RTMP path is the stream key. `PATH` and `${NAME}` are what messages tell users to write.
_STREAM_KEY: Final = re.compile(
    r"(?P<address>\brtmp[a-z]{0,2}(?:\+listen)?://(?![^\s?]*/\$\{)[^\s'\"<>?]*/)(?!PATH\b)[^\s'\"<>?/]*[^\s'\"<>?/,.:;)\]}]",
    re.IGNORECASE,
)
# An address that `pathlib` has normalized, since a file was expected. It is restored for the other rules.
_COLLAPSED: Final = re.compile(
    r"(?<![a-z])(?=(?:rtsps?|rtmp[a-z]{0,2}|https?|srt|udp|rtp|tcp|mqtts?|wss?|s?ftps?)(?:\+listen)?:/[^/\s])([a-z+]+):/",
    re.IGNORECASE,
)
_RESTORED: Final = re.compile(r"one-slash\+([a-z+]+)://", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"(?P<key>authorization['\"]?\s{0,8}[:=]\s{0,8}['\"]?\w+\s)[^\r\n]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Return ``text`` with every password in it replaced by ``***``.

    In an address, it hides everything from the user name's colon to the *last* ``@`` that may belong to the address, so
    that passwords with an unencoded ``@``, ``/``, ``?``, ``#``, quote or space are covered too; a user name without a
    password, which may be a token; the values of its query, unless the parameter is known to be harmless; and the last
    segment of an RTMP address, which is its stream key.
    It also hides settings with telling names (``password=``, ``token=``) and the credentials of HTTP headers.

    Takes time linear in the length of ``text``; redacting twice has no further effect.
    """
    text = _COLLAPSED.sub(r"one-slash+\1://", text)
    for _ in range(_MAX_PASSES):
        before, text = text, _redact_once(text)
        if text == before:
            break
    return _RESTORED.sub(r"\1:/", text)


def _redact_once(text: str) -> str:
    if "@" in text and "://" in text:
        text = "".join(_without_userinfos(line) for line in _LINE_END.split(text))
    text = _STREAM_KEY.sub(lambda match: f"{match['address']}***", text)
    text = _AUTHORIZATION.sub(lambda match: f"{match['key']}***", text)
    text = _ASSIGNED.sub(lambda match: f"{match['key'] or match['short']}***", text)
    text = _QUOTED.sub(lambda match: f'{match["key"]}"***"', text)
    if "://" in text and ("?" in text or "#" in text):
        text = "".join(_without_queries(line) for line in _LINE_END.split(text))
    return text


def mask_query(query: str) -> str:
    """Return the query of a camera's address, without ``?``, with every value that may be secret as ``***``."""
    return _PARAMETER.sub(lambda match: _masked_parameter(match[0]), query)


def _masked_parameter(parameter: str) -> str:
    key, equals, value = parameter.partition("=")
    harmless_value = _HARMLESS_NUMBER if key.lower() in _NUMERIC else _HARMLESS_WORDS
    if key.lower() in _HARMLESS and harmless_value.fullmatch(value):
        return parameter
    if not equals or not _PARAMETER_NAME.fullmatch(key):
        return "***"
    return f"{key}=***" if value else parameter


def _without_queries(line: str) -> str:
    """Mask queries and fragments of the addresses in a line; punctuation after an address is not part of it."""
    kept: list[str] = []
    start = 0
    while (slashes := line.find("://", start)) >= 0:
        found = _end_of_address(line, slashes).search(line, slashes + 3)
        stop = found.start() if found else len(line)
        kept += [line[start : slashes + 3], _without_query(line[slashes + 3 : stop])]
        start = stop
    kept.append(line[start:])
    return "".join(kept)


def _without_query(address: str) -> str:
    plain = address.rstrip(",.:;)]}>'\"")
    found = _QUERY_OR_FRAGMENT.search(plain)
    if found is None:
        return address
    path, (query, hash_sign, fragment) = plain[: found.start()], plain[found.start() :].partition("#")
    return f"{path}{query[:1]}{mask_query(query[1:])}{hash_sign}{'***' if fragment else ''}{address[len(plain) :]}"


def _without_userinfos(line: str) -> str:
    if "@" not in line:
        return line
    starts = [0, *(found.start() + 1 for found in _NEXT_ADDRESS.finditer(line)), len(line)]
    return "".join(_without_userinfo(line, start, end) for start, end in pairwise(starts))


def _without_userinfo(line: str, start: int, end: int) -> str:
    """Return a part of a line, up to the certain beginning of the next address, with its addresses redacted."""
    last_at = _last_at(line, start, end)
    kept: list[str] = []
    while (slashes := line.find("://", start, end)) >= 0:
        begin = slashes + 3
        quote = _quote_before(line, slashes)
        found = _end_of_address(line, slashes).search(line, begin, end)
        stop = found.start() if found else end
        quoted = found is not None and found[0] == quote
        at = line.rfind("@", begin, stop)
        if at >= 0 and (queried := _in_query(line, begin, at, stop)) is not None:
            at = queried
        elif at < 0:
            complete = (_COMPLETE_IN_QUOTES if quoted else _COMPLETE).match(line[begin:stop])
            at = -1 if complete else last_at
        elif not quoted or _reopened(line, quote, stop, last_at, end):
            at = max(at, last_at)
        hide_from = begin if at == stop else _secret_begin(line, begin, stop, at)
        if hide_from is not None and not _PLACEHOLDER.fullmatch(line, hide_from, at):
            kept += [line[start:hide_from], "***"]
            start = at
            stop = max(stop, at)
        kept.append(line[start:stop])
        start = stop
    kept.append(line[start:end])
    return "".join(kept)


def _in_query(line: str, begin: int, at: int, stop: int) -> int | None:
    """Distinguish an ``@`` in a query or fragment from one that ends a password containing ``?`` or ``#``.

    Returns:
        None if it ends a password; otherwise the end of the secret: an earlier ``@``, -1 without a user, or ``stop`` if
        it is unclear.
    """
    query = _QUERY_OR_FRAGMENT.search(line, begin, at)
    if query is None or line.find(":", begin, query.start()) < 0:
        return None
    if _COMPLETE_BEFORE_QUERY.fullmatch(line, begin, query.start()):
        return line.rfind("@", begin, query.start())
    return None if _CERTAIN_HOST.match(line, at, stop) or _HOST_AND_PATH.match(line, at, stop) else stop


def _last_at(line: str, start: int, end: int) -> int:
    """Return the position of the last ``@`` that a host follows; -1 without one."""
    at = line.rfind("@", start, end)
    while at >= 0 and _HOST_FOLLOWS.match(line, at, end) is None:
        at = line.rfind("@", start, at)
    return at


def _reopened(line: str, quote: str, stop: int, at: int, end: int) -> bool:
    """Whether the quote at ``stop`` is part of a password: the ``@`` is in no other string and another quote closes."""
    return at > stop and line.count(quote, stop, at) % 2 == 1 and line.find(quote, at, end) >= 0


def _end_of_address(line: str, slashes: int) -> re.Pattern[str]:
    """Return the pattern that ends the address whose ``://`` is at ``slashes``."""
    quote = _quote_before(line, slashes)
    return _CLOSED[quote] if quote else _SPACE


def _quote_before(line: str, slashes: int) -> str:
    """Return the quote right before the scheme; empty if there is none."""
    at = slashes - 1
    while at >= max(0, slashes - _MAX_SCHEME) and line[at] in _SCHEME_CHARACTERS:
        at -= 1
    return line[at] if at >= 0 and line[at] in "'\"" else ""


def _secret_begin(line: str, begin: int, stop: int, at: int) -> int | None:
    """Return the start of the secret part of the user info before ``at``; None if there is none."""
    if at < begin:
        return None
    colon = line.find(":", begin, at)
    if colon >= 0:
        return colon + 1
    # A token instead of a user name has no space, and an @ in the path does not end it (`rtsp://cam/profile@2x`).
    in_path = _PATH_BEGINS.search(line, begin, at) is not None and _CERTAIN_HOST.match(line, at) is None
    return begin if at < stop and not in_path else None
