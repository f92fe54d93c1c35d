"""``streamseg status``: how a running daemon is."""

from __future__ import annotations

from streamseg.cli.daemon_options import AsJson, Control, daemon_at, print_json


def status(control: Control = None, as_json: AsJson = False) -> None:
    """Say how a running daemon and its streams are.

    [bold]Example[/bold]

      streamseg status
    """
    with daemon_at(control) as daemon:
        answer = daemon.get_status()
    if as_json:
        print_json(answer)
        return
    from streamseg.cli.message_lines import daemon_state, plain, stream_state

    print(daemon_state(answer.daemon) if answer.daemon else "the daemon is starting")
    for stream in answer.streams:
        print(plain(f"{stream.stream}: {stream_state(stream)}"))
