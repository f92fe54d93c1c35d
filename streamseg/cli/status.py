"""``streamseg status``: the state of a running daemon."""

from __future__ import annotations

from streamseg.cli.daemon_options import AsJson, Control, daemon_at, print_json


def status(control: Control = None, as_json: AsJson = False) -> None:
    """Show the state of a running daemon and its streams.

    [bold]Example[/bold]

      streamseg status
    """
    with daemon_at(control) as daemon:
        reply = daemon.get_status()
    if as_json:
        print_json(reply)
        return
    from streamseg.cli.message_lines import daemon_state, plain, stream_state

    print(daemon_state(reply.daemon) if reply.daemon else "the daemon is starting")
    for stream in reply.streams:
        print(plain(f"{stream.stream}: {stream_state(stream)}"))
