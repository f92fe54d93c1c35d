"""The daemon's folder of keys: its own key, the keys that it accepts, and the tokens of the HTTP API.

::

    keys/
      daemon.key_secret    the daemon's own key pair
      authorized/NAME.key  the public key of someone who may watch or control
      tokens/NAME.token    the digest of a token of the HTTP API
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from streamseg.errors import ConfigError
from streamseg.paths import make_private_folder, state_directory
from streamseg.protocol.key_file import KEY, MAX_KEY_FILE_BYTES, read_fields, write_fields
from streamseg.protocol.text import valid_text
from streamseg.security.authorized_keys import (
    NAME,
    AuthorizedKey,
    AuthorizedKeys,
    Kind,
    Role,
    digest_of_cookie,
    key_files,
    read_authorized,
)
from streamseg.security.cookie import cookie_of

SECRET_SUFFIX: Final = ".key_secret"
_SECRET: Final = "Secret: this file is all that it takes to use the key. Keep it readable by its owner only."
_FOLDERS: Final[dict[Kind, str]] = {"key": "authorized", "token": "tokens"}


def default_key_folder() -> Path:
    """Return the default folder of keys; it may not exist yet."""
    return state_directory() / "keys"


class KeyFolder:
    """A folder of keys.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = path / f"daemon{SECRET_SUFFIX}"

    def folder(self, kind: Kind) -> Path:
        """Return the folder of authorized keys, or of tokens."""
        return self.path / _FOLDERS[kind]

    def accepts(self, kind: Kind) -> bool:
        """Whether the daemon has its own key and so can accept others; for tokens, whether there are any."""
        with contextlib.suppress(OSError):
            return bool(key_files(self.folder(kind), kind)) and (kind == "token" or self._own.exists())
        return False

    def authorize_command(self, kind: Kind = "key") -> str:
        """Return the command that authorizes a key, or makes a token."""
        where = "" if self.path == default_key_folder() else f" --keys {shlex.quote(valid_text(str(self.path)))}"
        return f"streamseg keys {'authorize' if kind == 'key' else 'token'} NAME{where}"

    def own_pair(self) -> tuple[bytes, bytes]:
        """Return the daemon's public and secret key.

        Raises:
            ConfigError: there is none, or others can read it.
        """
        try:
            found = self._own.stat()
            fields = read_fields(self._own.read_text(encoding="utf-8")[:MAX_KEY_FILE_BYTES])
        except FileNotFoundError:
            raise ConfigError(f"{self._own} does not exist: run `{self.authorize_command()}`") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._own} cannot be read: {error}") from None
        if found.st_mode & 0o077:
            raise ConfigError(f"others can read or write {self._own}: run: chmod 600 {shlex.quote(str(self._own))}")
        public, secret = fields.get("public-key", ""), fields.get("secret-key", "")
        if not (KEY.fullmatch(public) and KEY.fullmatch(secret)):
            raise ConfigError(f"{self._own} has no valid public-key and secret-key: remove it, and authorize again")
        return public.encode(), secret.encode()

    def make_own_pair(self) -> bytes:
        """Return the daemon's public key, and make its key pair if there is none.

        Raises:
            ConfigError: it cannot be read or written.
        """
        if not self._own.exists():
            self._make_folder(self.path)
            write_pair(self._own, {"name": "daemon"})
            self._give(self._own)
        return self.own_pair()[0]

    def authorize(
        self, name: str, public: str, role: Role, streams: tuple[str, ...] = ("*",), expires: datetime | None = None
    ) -> None:
        """Accept a key, or change what its holder may do.

        Raises:
            ConfigError: the name is invalid, the key is authorized under another name, or a file cannot be written.
        """
        for other in self.entries("key")[0]:
            if other.key == public and other.name != name:
                raise ConfigError(f"this key is authorized as {other.name!r}: revoke that first, or use that name")
        self._write(name, "key", AuthorizedKey(name, public, role, streams, expires))

    def make_token(self, name: str, role: Role, expires: datetime | None = None) -> str:
        """Return a new token of the HTTP API; only its digest is stored.

        Raises:
            ConfigError: the name is invalid or has a token, or a file cannot be written.
        """
        if self._file(name, "token").exists():
            raise ConfigError(f"{name!r} has a token: run `streamseg keys revoke {name}` first")
        token = secrets.token_urlsafe(24)
        self._write(name, "token", AuthorizedKey(name, digest_of_cookie(cookie_of(token)), role, ("*",), expires))
        return token

    def revoke(self, name: str) -> bool:
        """Stop accepting the key and the token of a name.

        Returns:
            Whether there was one.
        """
        files = [file for file in (self._file(name, "key"), self._file(name, "token")) if file.exists()]
        for file in files:
            file.unlink(missing_ok=True)
        return bool(files)

    def entries(self, kind: Kind) -> tuple[list[AuthorizedKey], list[str]]:
        """Return all authorized keys by name, including expired ones, and what is wrong with the other files.

        Raises:
            ConfigError: the folder cannot be read.
        """
        found: list[AuthorizedKey] = []
        wrong: list[str] = []
        try:
            paths = key_files(self.folder(kind), kind)
        except OSError as error:
            raise ConfigError(f"{self.folder(kind)} cannot be read: {error.strerror}") from None
        for path in paths:
            try:
                found.append(read_authorized(path, kind))
            except ConfigError as error:
                wrong.append(str(error))
        return found, wrong

    def entry(self, name: str, kind: Kind = "key") -> AuthorizedKey | None:
        """Return the rights of a name; None if it has no key (or token).

        Raises:
            ConfigError: the name or its file is invalid.
        """
        file = self._file(name, kind)
        return read_authorized(file, kind) if file.exists() else None

    def watched(self, kind: Kind = "key") -> AuthorizedKeys:
        """Return the authorized keys for a running process."""
        return AuthorizedKeys(self.folder(kind), kind)

    def _file(self, name: str, kind: Kind) -> Path:
        if not NAME.fullmatch(name):
            shown = "a key" if KEY.fullmatch(name) else repr(name)  # perhaps a secret one
            raise ConfigError(f"{shown} is not a valid name: use letters, digits, . _ and -, at most 64")
        return self.folder(kind) / f"{name}.{kind}"

    def _write(self, name: str, kind: Kind, key: AuthorizedKey) -> None:
        file = self._file(name, kind)
        self._make_folder(self.path)
        self._make_folder(file.parent)
        metadata = {
            "role": key.role,
            "streams": ", ".join(key.streams),
            "expires": key.expires.isoformat() if key.expires else "",
        }
        curve = {"public-key": key.key} if kind == "key" else {}
        if kind == "token":
            metadata["token-digest"] = key.key
        with _reported(file):
            part = file.with_name(f".{file.name}.part")  # a daemon never reads half a file
            _write_private(part, write_fields(f"streamseg: {name} may {key.role}", metadata, curve))
            self._give(part)  # before the rename, or the daemon would find a file that it cannot read
            part.replace(file)

    def _make_folder(self, folder: Path) -> None:
        with _reported(folder):
            made = not folder.exists()
            make_private_folder(folder)
        if made:
            self._give(folder)

    def _give(self, path: Path) -> None:
        """Give a file made by root to the owner of its folder: the user that the daemon runs as."""
        with contextlib.suppress(OSError):
            if os.geteuid() == 0 and (owner := path.parent.stat()).st_uid != 0:
                os.chown(path, owner.st_uid, owner.st_gid)


def write_pair(file: Path, metadata: dict[str, str]) -> str:
    """Write a new key pair to a file that only its owner can read, and return the public key.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    import zmq  # imported late: settings are read without it

    public, secret = (key.decode() for key in zmq.curve_keypair())
    with _reported(file):
        _write_private(file, write_fields(_SECRET, metadata, {"public-key": public, "secret-key": secret}), new=True)
    return public


def write_public(file: Path, name: str, public: str) -> None:
    """Write the public half of a key pair, to send to the person who authorizes it.

    Raises:
        ConfigError: it cannot be written.
    """
    with _reported(file):
        file.write_text(write_fields("Public key of streamseg", {"name": name}, {"public-key": public}))


def _write_private(file: Path, text: str, *, new: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_EXCL if new else os.O_TRUNC)
    with open(os.open(file, flags, 0o600), "w", encoding="utf-8") as out:  # noqa: PTH123 - with its mode
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn file system errors into an error that says what to do."""
    try:
        yield
    except FileExistsError:
        raise ConfigError(f"{path} exists: remove it first, or choose another name") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
