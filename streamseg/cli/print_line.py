"""Print results line by line, to a terminal or a pipe."""

from __future__ import annotations

import os
import sys

import typer


def print_line(text: str) -> None:
    """Print a line. Flushed, so that a reader behind a pipe sees it at once.

    Raises:
        typer.Exit: The reader of the pipe is gone (``| head``); this is not an error.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Otherwise Python would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
