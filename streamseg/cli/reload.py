"""``streamseg reload``: make a running daemon read its configuration file again."""

from __future__ import annotations

from streamseg.cli.daemon_options import AsJson, Control, Key, ServerKey, daemon_at, print_json


def reload(control: Control = None, key: Key = None, server_key: ServerKey = None, as_json: AsJson = False) -> None:
    """Read the configuration file again and apply what changed. A file with a mistake changes nothing.

    [bold]Example[/bold]

      streamseg reload
    """
    with daemon_at(control, key, server_key) as daemon:
        reply = daemon.reload()
    if as_json:
        print_json(reply)
        return
    changes = (
        ("added", reply.added),
        ("removed", reply.removed),
        ("reopened", reply.restarted),
        ("changed", reply.changed),
    )
    parts = [f"{what} {', '.join(streams)}" for what, streams in changes if streams]
    if reply.model:
        parts.append(f"the worker restarts with {', '.join(reply.model)}: objects go on from their last masks")
    print("; ".join(parts) or "no stream changed")
    if reply.needs_restart:
        print(f"restart the daemon to apply: {', '.join(reply.needs_restart)}")
