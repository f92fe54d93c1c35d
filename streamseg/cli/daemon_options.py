"""Common parts of the commands that talk to a running daemon: its address, and printing of replies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.client.controller import Controller

Control = Annotated[
    str | None,
    typer.Option("--control", metavar="ADDRESS", help="The daemon's control.endpoint. Default: this user's daemon."),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar="STREAMSEG_KEY",
        help="Key file, if the daemon asks for one: see streamseg keys.",
    ),
]
ServerKey = Annotated[
    str | None,
    typer.Option(
        "--server-key",
        metavar="KEY",
        envvar="STREAMSEG_SERVER_KEY",
        help="The daemon's public key, if the key file does not have it.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as one JSON object.")]


def daemon_at(endpoint: str | None, key: Path | None, server_key: str | None) -> Controller:
    """Return a controller for the daemon; a context manager.

    Raises:
        ConfigError: the address or a key is wrong.
    """
    from streamseg.client.controller import Controller

    try:
        return Controller(endpoint, key_file=key, server_key=server_key)
    except ConfigError as error:
        # The argument is named endpoint, the option is not.
        raise ConfigError(re.sub("^endpoint: ", "--control: ", str(error))) from None


def print_json(reply: Any) -> None:
    """Print a reply as one line of JSON."""
    import msgspec

    print(msgspec.json.encode(reply).decode())


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in aligned columns; the last column has no fixed width."""
    from streamseg.cli.message_lines import plain

    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(plain("  ".join([*cells, row[-1]]).rstrip()))
