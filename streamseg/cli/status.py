"""``streamseg status``: the state of a running daemon."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.daemon_options import AsJson, Control, daemon_at, print_json

if TYPE_CHECKING:
    from streamseg.protocol.published import Status
    from streamseg.protocol.results import StatusResult


def status(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if a stream delivers nothing, for scripts and monitoring.")
    ] = False,
    control: Control = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of a running daemon and its streams.

    [bold]Examples[/bold]

      streamseg status

      streamseg status --check
    """
    with daemon_at(control) as daemon:
        reply, streams = daemon.get_status(), daemon.hello().streams
    _print(reply, as_json)
    if check:
        known = {stream.stream: stream for stream in reply.streams}
        silent = [name for name in streams if not _delivers(known.get(name))]
        if silent:
            print(f"no masks from: {', '.join(silent)}", file=sys.stderr)
            raise typer.Exit(1)


def _print(reply: StatusResult, as_json: bool) -> None:
    if as_json:
        print_json(reply)
        return
    from streamseg.cli.message_lines import daemon_state, plain, stream_state

    print(daemon_state(reply.daemon) if reply.daemon else "the daemon is starting")
    for stream in reply.streams:
        print(plain(f"{stream.stream}: {stream_state(stream)}"))


def _delivers(stream: Status | None) -> bool:
    """Whether frames of a stream come and are tracked. A paused one is silent on purpose; one at its end is not."""
    if stream is None or stream.state != "streaming":
        return False
    return stream.paused or stream.fps_out > 0
