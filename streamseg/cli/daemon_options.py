"""Common parts of the commands that talk to a running daemon: its address, and printing of replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamseg.client.controller import Controller

Control = Annotated[
    str | None,
    typer.Option("--control", metavar="ADDRESS", help="The daemon's control.endpoint. Default: this user's daemon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as one JSON object.")]


def daemon_at(endpoint: str | None) -> Controller:
    """Return a controller for the daemon; a context manager."""
    from streamseg.client.controller import Controller

    return Controller(endpoint)


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
