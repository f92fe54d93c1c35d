"""The keys (or tokens) that a daemon accepts: one file each, read again while the daemon runs."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from streamseg.errors import ConfigError
from streamseg.protocol.key_file import KEY, MAX_KEY_FILE_BYTES, read_fields

log = logging.getLogger(__name__)

Role = Literal["watch", "control"]
"""``watch``: receive and ask. ``control``: also change."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_KEYS: Final = 1000
_PATTERN: Final = re.compile(r"[a-z0-9_*?\[\]!-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_REFRESH_S: Final = 1.0
_MIN_REFRESH_S: Final = 0.02

Kind = Literal["key", "token"]
_FIELDS: Final[dict[Kind, tuple[str, re.Pattern[str]]]] = {
    "key": ("public-key", KEY),
    "token": ("token-digest", _DIGEST),
}


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A key, and what its holder may do.

    Attributes:
        name: For people, and for ``streamseg keys revoke``.
        key: The public key, or the digest of the token.
        role: What its holder may do.
        streams: Patterns of stream ids (``*``, ``?``) that it is for.
        expires: When it stops being valid; None: never.
    """

    name: str
    key: str
    role: Role
    streams: tuple[str, ...] = ("*",)
    expires: datetime | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether it is for every stream."""
        return "*" in self.streams

    def is_for(self, stream: str) -> bool:
        """Whether it is for a stream."""
        return any(fnmatch.fnmatchcase(stream, pattern) for pattern in self.streams)

    def is_valid(self) -> bool:
        """Whether it has not expired."""
        return self.expires is None or datetime.now(UTC) < self.expires


class AuthorizedKeys:
    """The authorized keys of a folder. Used by one thread.

    A file that cannot be read, or that others may write to, authorizes no one; the log says why.

    Args:
        folder: Of the files; it need not exist.
        kind: What the files are about; also their suffix.
    """

    def __init__(self, folder: Path, kind: Kind = "key") -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._keys: dict[str, AuthorizedKey] = {}
        self._seen: dict[Path, tuple[int, int, int]] | None = None
        self._refreshed_at = -math.inf
        self.refresh()

    def find(self, key: str) -> AuthorizedKey | None:
        """Return a key that is authorized now."""
        found = self._keys.get(key)
        return found if found is not None and found.is_valid() else None

    def refresh(self, *, early: bool = False) -> frozenset[str]:
        """Read the folder again if something in it has changed.

        Args:
            early: Do it after 20 ms rather than a second, for a key that may have been authorized just now.

        Returns:
            The keys that were revoked, have expired, or have other rights now.
        """
        now = time.monotonic()
        if now < self._refreshed_at + (_MIN_REFRESH_S if early else _REFRESH_S):
            return frozenset()
        self._refreshed_at = now
        before = self._keys
        seen = {path: mark for path in list(key_files(self._folder, self._kind)) if (mark := _mark(path)) is not None}
        if seen != self._seen:
            self._seen = seen
            self._keys = {one.key: one for one in self._read(seen)}
        else:
            self._keys = dict(before)
        for key in [key for key, one in self._keys.items() if not one.is_valid()]:
            del self._keys[key]
        return frozenset(key for key, one in before.items() if self._keys.get(key) != one)

    def __len__(self) -> int:
        return len(self._keys)

    def _read(self, paths: dict[Path, tuple[int, int, int]]) -> Iterator[AuthorizedKey]:
        for path in sorted(paths)[:MAX_KEYS]:
            try:
                yield read_authorized(path, self._kind)
            except ConfigError as error:
                log.warning("%s", error)
        if len(paths) > MAX_KEYS:
            log.warning("%s: more than %d files, the others are ignored", self._folder, MAX_KEYS)


def key_files(folder: Path, kind: Kind) -> Iterator[Path]:
    """Yield the files of a folder that authorize a key; none if the folder cannot be read."""
    try:
        yield from folder.glob(f"*.{kind}")
    except OSError as error:
        log.warning("%s cannot be read: %s", folder, error.strerror)


def read_authorized(path: Path, kind: Kind = "key") -> AuthorizedKey:
    """Read a file that authorizes a key.

    Raises:
        ConfigError: it cannot be read, is invalid, or others may write to it; the message names it.
    """
    field, form = _FIELDS[kind]
    try:
        found = path.stat()
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
            raise ConfigError(f"{path} is ignored: others may write to it; run: chmod go-w {path}")
        with path.open(encoding="utf-8") as file:
            fields = read_fields(file.read(MAX_KEY_FILE_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is ignored: {error}") from None
    key, role = fields.get(field, ""), fields.get("role", "watch")
    if not form.fullmatch(key):
        raise ConfigError(f"{path} is ignored: it has no valid {field}")
    for allowed in get_args(Role):
        if role == allowed:
            try:
                streams, expires = read_patterns(fields.get("streams", "*")), read_expiry(fields.get("expires", ""))
            except ConfigError as error:
                raise ConfigError(f"{path} is ignored: {error}") from None
            if kind == "token" and streams != ("*",):
                raise ConfigError(f'{path} is ignored: streams: a token is for all streams: write streams = "*"')
            return AuthorizedKey(path.stem, key, allowed, streams, expires)
    raise ConfigError(f"{path} is ignored: role: {role!r} is unknown: choose from {', '.join(get_args(Role))}")


def read_patterns(text: str) -> tuple[str, ...]:
    """Return stream patterns written as ``door*, yard``.

    Raises:
        ConfigError: one cannot match a stream id.
    """
    patterns = tuple(part.strip() for part in text.split(","))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ConfigError(f"streams: {pattern!r} is no pattern: use a stream id, with * and ? for any characters")
    return patterns


def read_expiry(text: str) -> datetime | None:
    """Return a time written in ISO 8601, UTC unless it says otherwise; None if empty.

    Raises:
        ConfigError: it is no time.
    """
    if not text:
        return None
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"expires: {text!r} is no time: write 2030-12-31 or 2030-12-31T18:00:00+01:00") from None
    return time_ if time_.tzinfo else time_.replace(tzinfo=UTC)


def digest_of_cookie(cookie: str) -> str:
    """Return what is stored of a token: the digest of its cookie, which in turn is a keyed hash of the token.

    A plain hash suffices since tokens are 128 random bits: a slow one only helps secrets that can be guessed.
    """
    return hashlib.sha256(b"streamseg token " + cookie.encode()).hexdigest()


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_mode
