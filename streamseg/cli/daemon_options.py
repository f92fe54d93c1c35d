"""What the commands that talk to a running daemon have in common: where it is, and how an answer is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamseg.client.controller import Controller

Control = Annotated[
    str | None,
    typer.Option("--control", metavar="ADDRESS", help="The daemon's control.endpoint; default: this user's daemon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")]


def daemon_at(endpoint: str | None) -> Controller:
    """Return a controller for the daemon; a context manager."""
    from streamseg.client.controller import Controller

    return Controller(endpoint)


def print_json(answer: Any) -> None:
    """Print an answer as one line of JSON."""
    import msgspec

    print(msgspec.json.encode(answer).decode())


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns; the last one may be as long as it likes."""
    from streamseg.cli.message_lines import plain

    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(plain("  ".join([*cells, row[-1]]).rstrip()))
