"""``streamseg status``: the state of a running daemon."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamseg.cli.daemon_options import AsJson, Control, Key, ServerKey, daemon_at, print_json

if TYPE_CHECKING:
    from streamseg.protocol.results import StatusResult

_CHECK_S: Final = 10.0
"""A slow model may publish nothing within the second over which a status measures its rate."""
_POLL_S: Final = 0.5


def status(
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit with 1 if a stream delivers nothing for 10 s, for scripts and monitoring. A paused stream "
            "counts as one that delivers.",
        ),
    ] = False,
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of a running daemon and its streams.

    [bold]Examples[/bold]

      streamseg status

      streamseg status --check
    """
    with daemon_at(control, key, server_key) as daemon:
        reply, silent = daemon.get_status(), set(daemon.hello().streams) if check else set()
        silent -= _delivering(reply)
        deadline = time.monotonic() + _CHECK_S
        while silent and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            reply = daemon.get_status()
            silent -= _delivering(reply)
    _print(reply, as_json)
    if silent:
        print(f"no masks from: {', '.join(sorted(silent))}", file=sys.stderr)
        raise typer.Exit(1)


def _print(reply: StatusResult, as_json: bool) -> None:
    if as_json:
        print_json(reply)
        return
    from streamseg.cli.message_lines import daemon_state, plain, stream_state

    print(daemon_state(reply.daemon) if reply.daemon else "the daemon is starting")
    for stream in reply.streams:
        print(plain(f"{stream.stream}: {stream_state(stream)}"))


def _delivering(reply: StatusResult) -> set[str]:
    """Return the streams that deliver frames with masks. A paused stream counts as one; an ended stream does not."""
    return {
        stream.stream
        for stream in reply.streams
        if stream.state == "streaming" and (stream.paused or stream.fps_out > 0)
    }
