"""The keys (or tokens) that a daemon accepts: one file each, read again while the daemon runs.

Ours because ``zmq.auth.load_certificates`` knows neither roles nor streams nor expiry.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import math
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from streamseg.errors import ConfigError
from streamseg.protocol.key_file import KEY, MAX_KEY_FILE_BYTES, read_all_fields

log = logging.getLogger(__name__)

Role = Literal["watch", "control"]
"""``watch``: receive and query. ``control``: also change."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_KEYS: Final = 1000
_PATTERN: Final = re.compile(r"[a-z0-9_*?\[\]!-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_REFRESH_S: Final = 1.0
_EARLY_BURST: Final = 10.0
_EARLY_PER_S: Final = 4.0
"""Rate limit: anyone can send an unknown key, and reading the folder delays the loop's other work."""

Kind = Literal["key", "token"]
_FIELDS: Final[dict[Kind, tuple[str, re.Pattern[str]]]] = {
    "key": ("public-key", KEY),
    "token": ("token-digest", _DIGEST),
}


_Mark = tuple[int, ...]
_NO_MARK: Final[_Mark] = ()


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A key, and what its holder may do.

    Attributes:
        name: Name, as for ``streamseg keys revoke``.
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

    A file that is invalid, or that others may write to, authorizes no one; the log says why. A file that cannot be read
    for another reason (no descriptors left, a disk error) counts as before and is retried: an error must neither revoke
    all keys nor keep a removed file's key.

    Args:
        folder: Folder of the files; it need not exist.
        kind: Kind of the files; also their suffix.
    """

    def __init__(self, folder: Path, kind: Kind = "key") -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._keys: dict[str, AuthorizedKey] = {}
        self._files: dict[Path, tuple[_Mark, AuthorizedKey | None]] = {}
        self._warned: set[str] = set()
        self._refreshed_at = -math.inf
        self._early_left = _EARLY_BURST
        self.refresh()

    def find(self, key: str) -> AuthorizedKey | None:
        """Return a key if it is currently authorized."""
        found = self._keys.get(key)
        return found if found is not None and found.is_valid() else None

    def refresh(self, *, early: bool = False) -> frozenset[str]:
        """Read the changes in the folder.

        Args:
            early: Read before a second has passed, for a key that may just have been authorized: in bursts of ten, and
                four times a second on average.

        Returns:
            The keys that were revoked, have expired, or have other rights now.
        """
        now = time.monotonic()
        passed = now - self._refreshed_at
        if passed < _REFRESH_S:
            left = self._early_left + passed * _EARLY_PER_S
            if not early or left < 1:
                return frozenset()
            self._early_left = min(_EARLY_BURST, left) - 1
        else:
            self._early_left = min(_EARLY_BURST, self._early_left + passed * _EARLY_PER_S)
        self._refreshed_at = now
        before, warnings = self._keys, set[str]()
        try:
            paths = key_files(self._folder, self._kind)
        except OSError as error:
            warnings.add(f"{self._folder} cannot be read, its keys stay as they are: {error.strerror}")
            paths = list(self._files)  # whether these are still there can be seen without a descriptor
        if len(paths) > MAX_KEYS:
            warnings.add(f"{self._folder}: more than {MAX_KEYS} files, the others are ignored")
        self._files = {path: one for path in paths[:MAX_KEYS] if (one := self._look_at(path, warnings)) is not None}
        for warning in sorted(warnings - self._warned):
            log.warning("%s", warning)
        self._warned = warnings
        self._keys = {one.key: one for _, one in self._files.values() if one is not None and one.is_valid()}
        return frozenset(key for key, one in before.items() if self._keys.get(key) != one)

    def __len__(self) -> int:
        return len(self._keys)

    def _look_at(self, path: Path, warnings: set[str]) -> tuple[_Mark, AuthorizedKey | None] | None:
        """Return the mark of a file and what it authorizes; None if it is gone."""
        mark, known = self._files.get(path, (_NO_MARK, None))
        try:
            found = _mark(path)
            if found == mark:
                warnings |= {warning for warning in self._warned if warning.startswith(f"{path} ")}
                return mark, known
            return found, _read(path, self._kind)
        except FileNotFoundError:
            return None
        except ConfigError as error:
            warnings.add(str(error))
            return found, None
        except PermissionError as error:
            warnings.add(f"{path} is ignored: {error.strerror}")
            return _NO_MARK, None
        except OSError as error:
            warnings.add(f"{path} cannot be read, what it authorized stays as it is: {error.strerror}")
            return _NO_MARK, known


def key_files(folder: Path, kind: Kind) -> list[Path]:
    """Return the files of a folder that authorize a key, sorted; none if there is no folder.

    Not :meth:`pathlib.Path.glob`, which returns nothing for a folder that cannot be read.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - Path.iterdir() joins each name first
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(f".{kind}") and not name.startswith(".")]


def read_authorized(path: Path, kind: Kind = "key") -> AuthorizedKey:
    """Read a file that authorizes a key.

    Raises:
        ConfigError: it cannot be read, is invalid, or others may write to it; the message names it.
    """
    try:
        return _read(path, kind)
    except OSError as error:
        raise ConfigError(f"{path} is ignored: {error.strerror}") from None


def _read(path: Path, kind: Kind) -> AuthorizedKey:
    """Read a file that authorizes a key; OSError if that fails.

    These files are edited by hand, and ignoring a misspelled field could give more rights than intended. So all fields
    that matter are required, and unknown ones are refused.
    """
    try:
        found = path.stat()
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
            raise ConfigError(f"others may write to it; run: chmod go-w {path}")
        with path.open("rb") as file:
            fields = read_all_fields(file.read(MAX_KEY_FILE_BYTES + 1))
        return _parse(path.stem, fields, kind)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path} is ignored: {error}") from None


def _parse(name: str, fields: dict[str, str], kind: Kind) -> AuthorizedKey:
    field, form = _FIELDS[kind]
    known = ("name", "role", "streams", "expires", field)
    for unknown in fields.keys() - set(known):
        raise ConfigError(f"{unknown}: there is no such field: choose from {', '.join(known)}")
    if not form.fullmatch(fields.get(field, "")):
        raise ConfigError(f"it has no valid {field}")
    for needed, example in (("role", "watch"), ("streams", "*")):
        if needed not in fields:
            raise ConfigError(f'{needed} is missing: add {needed} = "{example}" to its section metadata')
    if fields.get("expires") == "":
        raise ConfigError("expires is empty: remove the line, or write 2030-12-31")
    for role in get_args(Role):
        if role == fields["role"]:
            streams, expires = read_patterns(fields["streams"]), read_expiry(fields.get("expires", ""))
            if kind == "token" and streams != ("*",):
                raise ConfigError('streams: a token is for all streams: write streams = "*"')
            return AuthorizedKey(name, fields[field], role, streams, expires)
    raise ConfigError(f"role: {fields['role']!r} is unknown: choose from {', '.join(get_args(Role))}")


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
    """Return the stored form of a token: the digest of its cookie, which is a keyed hash of the token.

    A plain hash is enough, since tokens are 128 random bits: a slow hash only helps guessable secrets.
    """
    return hashlib.sha256(b"streamseg token " + cookie.encode()).hexdigest()


def _mark(path: Path) -> _Mark:
    """Return a value that changes with a file, its owner or its mode; OSError if it is gone or inaccessible."""
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode, found.st_uid
