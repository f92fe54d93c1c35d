"""``streamseg keys``: who may watch and control over the network."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from streamseg.cli.daemon_options import AsJson, print_json, print_table
from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.security.authorized_keys import AuthorizedKey
    from streamseg.security.key_folder import KeyFolder

app = typer.Typer(help="Keys and tokens: who may watch and control over the network.", no_args_is_help=True)

_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the person, program or machine.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--keys", metavar="DIR", help="The daemon's security.keys. Default: $STATE_DIRECTORY/keys, or this user's."
    ),
]
Role = Annotated[
    Literal["watch", "control"] | None,
    typer.Option(help="watch (default): receive masks and ask for the state. control: also change."),
]
Expires = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Last moment: 2030-12-31, 2030-12-31T18:00, 30d from now, or never (default)."),
]


@app.command()
def generate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written: FILE.key_secret and FILE.key.")],
) -> None:
    """Make a key pair on the machine that will use it, so that the secret key never travels.

    [bold]Example[/bold]

      streamseg keys generate robot
    """
    from streamseg.security.key_folder import SECRET_SUFFIX, write_pair, write_public

    secret = file.with_name(file.name + SECRET_SUFFIX)
    public = write_pair(secret, {"name": file.name})
    write_public(file.with_name(f"{file.name}.key"), file.name, public)
    print(f"{secret}: secret, stays here\n{file}.key: copy it to the daemon's machine, and run there:")
    print(f"streamseg keys authorize {file.name} --key {file.name}.key")


@app.command()
def authorize(
    name: Name,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY|FILE", help="Their public key, or its file. Default: a new pair, written to NAME.key_secret."
        ),
    ] = None,
    role: Role = None,
    streams: Annotated[
        str | None,
        typer.Option(metavar="PATTERN,...", help="Ids of streams it is for; * and ? stand for any characters: '*'."),
    ] = None,
    expires: Expires = None,
    keys: Folder = None,
) -> None:
    """Let the holder of a key watch or control. A running daemon applies it within a second.

    Makes the daemon's own key first if there is none. For an existing name, only the given options change.

    [bold]Examples[/bold]

      streamseg keys authorize robot

      streamseg keys authorize robot --keys /var/lib/streamseg/keys

      streamseg keys authorize alice --key alice.key --role control --streams 'door*' --expires 30d
    """
    from streamseg.security.authorized_keys import read_patterns
    from streamseg.security.key_folder import SECRET_SUFFIX, write_pair

    folder = _folder(keys)
    before = folder.entry(name)
    patterns = read_patterns(streams) if streams is not None else before.streams if before else ("*",)
    until = _expiry(expires) if expires is not None else before.expires if before else None
    given = role or (before.role if before else "watch")
    server = folder.make_own_pair().decode()
    made = None
    if key is None and before is None:
        made = Path(f"{name}{SECRET_SUFFIX}")
        public = write_pair(made, {"name": name, "server-key": server})
    else:
        public = before.key if before is not None and key is None else _public_key(key or "")
    folder.authorize(name, public, given, patterns, until)
    end = f" until {until.isoformat(timespec='seconds')}" if until else ""
    print(f"{name} may {given} {', '.join(patterns)}{end} ({folder.path})")
    if until is not None and until <= datetime.now(UTC):
        print(f"{name} has expired: give --expires WHEN, or --expires never", file=sys.stderr)
    if made is not None:
        print(f"{made}: secret, for {name} alone: move it there, and use it with --key {made}")
    else:
        print(f"the daemon's public key, for --server-key: {server}")


@app.command()
def token(name: Name, role: Role = None, expires: Expires = None, keys: Folder = None) -> None:
    """Make a token for the page and the HTTP API. It is shown once; only its digest is stored.

    [bold]Example[/bold]

      streamseg keys token alice --role control
    """
    folder = _folder(keys)
    print(folder.make_token(name, role or "watch", _expiry(expires)))
    print(f"{name} may {role or 'watch'} ({folder.path})", file=sys.stderr)


@app.command()
def revoke(name: Name, keys: Folder = None) -> None:
    """Revoke the key and the token of a name. A running daemon closes their connections within seconds.

    [bold]Example[/bold]

      streamseg keys revoke robot
    """
    folder = _folder(keys)
    if not folder.revoke(name):
        known = ", ".join(sorted({one.name for _, one in _entries(folder)}))
        raise ConfigError(f"{name!r} has neither a key nor a token in {folder.path}; known: {known or 'none'}")
    print(f"{name} no longer has access ({folder.path})")


@app.command("list")
def list_keys(keys: Folder = None, as_json: AsJson = False) -> None:
    """List who has access, and the daemon's public key.

    [bold]Example[/bold]

      streamseg keys list
    """
    folder = _folder(keys)
    entries = _entries(folder)
    own = folder.own_pair()[0].decode() if folder.accepts("key") else ""
    if as_json:
        print_json({"server_key": own, "entries": [_fields(kind, one) for kind, one in entries]})
        return
    print(f"keys in {folder.path}")
    if own:
        print(f"the daemon's public key: {own}")
    rows: list[tuple[str, ...]] = [("NAME", "KIND", "ROLE", "STREAMS", "EXPIRES", "")]
    for kind, one in entries:
        expires = one.expires.isoformat(timespec="seconds") if one.expires else "never"
        rows.append((one.name, kind, one.role, ",".join(one.streams), expires, "" if one.is_valid() else "expired"))
    print_table(rows)


def _entries(folder: KeyFolder) -> list[tuple[str, AuthorizedKey]]:
    """Return all keys and tokens; files that the daemon also ignores are reported on standard error."""
    keys, wrong_keys = folder.entries("key")
    tokens, wrong_tokens = folder.entries("token")
    for wrong in wrong_keys + wrong_tokens:
        print(wrong, file=sys.stderr)
    return [("key", one) for one in keys] + [("token", one) for one in tokens]


def _fields(kind: str, one: AuthorizedKey) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": one.name,
        "role": one.role,
        "streams": one.streams,
        "expires": one.expires,
        "valid": one.is_valid(),
        "public_key": one.key if kind == "key" else None,
    }


def _folder(keys: Path | None) -> KeyFolder:
    from streamseg.security.key_folder import KeyFolder, default_key_folder

    return KeyFolder(default_key_folder() if keys is None else keys.absolute())


def _public_key(text: str) -> str:
    """Return a public key given as text or as the path of its file."""
    from streamseg.protocol.key_file import KEY, MAX_KEY_FILE_BYTES, read_fields

    path = Path(text)
    try:
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                text = read_fields(file.read(MAX_KEY_FILE_BYTES)).get("public-key", "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--key: {path} cannot be read: {error}") from None
    if not KEY.fullmatch(text):
        raise ConfigError(f"--key: {str(path)!r} is neither a public key (40 characters) nor a file with one")
    return text


def _expiry(text: str | None) -> datetime | None:
    from streamseg.security.authorized_keys import read_expiry

    if text == "never":
        return None
    if text and (days := _DAYS.fullmatch(text)):
        return datetime.now(UTC) + timedelta(days=int(days[1]))
    until = read_expiry(text or "")
    if until is not None and until <= datetime.now(UTC):
        raise ConfigError(f"expires: {text!r} has passed")
    return until
