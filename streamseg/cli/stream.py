"""``streamseg stream``: the streams of a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamseg.cli.daemon_options import AsJson, Control, Key, ServerKey, daemon_at, print_json, print_table

app = typer.Typer(help="Add, list, pause and remove streams of a running daemon.", no_args_is_help=True)

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Id of the stream.")]


@app.command()
def add(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Id of the stream, your choice.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="rtsp://..., webcam:0, clip.mp4, scene:default; '${NAME}' is an environment variable."
        ),
    ],
    transport: Annotated[
        str | None, typer.Option(metavar="tcp|udp", help="RTSP: transport of the media packets.")
    ] = None,
    pace: Annotated[
        str | None, typer.Option(metavar="live|fast|camera", help="Files: play at their own rate (live).")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Files: start over at the end.")] = False,
    on_discontinuity: Annotated[
        str | None, typer.Option(metavar="keep|reset|reprompt", help="What happens to objects after a reconnect.")
    ] = None,
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Add a stream until it is removed; a daemon with a configuration file keeps it over restarts.

    [bold]Example[/bold]

      streamseg stream add door 'rtsp://admin:${CAM_PASSWORD}@cam.example/1'
    """
    from streamseg.config.load import filled_address
    from streamseg.config.relative import absolute_path
    from streamseg.sources.address import local_path

    source = filled_address(source)
    path = local_path(source)
    if path is not None:  # the daemon runs in another folder
        source = absolute_path(Path.cwd(), str(path))
    settings: dict[str, Any] = {
        "source": source,
        "transport": transport,
        "pace": pace,
        "loop": loop or None,
        "on_discontinuity": on_discontinuity,
    }
    with daemon_at(control, key, server_key) as daemon:
        daemon.add_stream(stream, {name: value for name, value in settings.items() if value is not None})
    print(f"opening {stream}: `streamseg stream list` shows its state")


@app.command()
def remove(stream: Stream, control: Control = None, key: Key = None, server_key: ServerKey = None) -> None:
    """Close a stream and remove its objects.

    [bold]Example[/bold]

      streamseg stream remove door
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.remove_stream(stream)
    print(f"{stream} is closed")


@app.command()
def pause(stream: Stream, control: Control = None, key: Key = None, server_key: ServerKey = None) -> None:
    """Stop tracking a stream until it is resumed; its objects and their memory are kept.

    [bold]Example[/bold]

      streamseg stream pause door
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.pause(stream)
    print(f"{stream} is paused")


@app.command()
def resume(stream: Stream, control: Control = None, key: Key = None, server_key: ServerKey = None) -> None:
    """Track a paused stream again.

    [bold]Example[/bold]

      streamseg stream resume door
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.resume(stream)
    print(f"{stream} is tracked again")


@app.command()
def reset(stream: Stream, control: Control = None, key: Key = None, server_key: ServerKey = None) -> None:
    """Remove all objects of a stream.

    [bold]Example[/bold]

      streamseg stream reset door
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.reset(stream)
    print(f"all objects of {stream} are removed")


@app.command("list")
def list_streams(
    control: Control = None, key: Key = None, server_key: ServerKey = None, as_json: AsJson = False
) -> None:
    """List the streams and their state.

    [bold]Example[/bold]

      streamseg stream list
    """
    with daemon_at(control, key, server_key) as daemon:
        hello, status = daemon.hello(), daemon.get_status()
    if as_json:
        print_json(status.streams)
        return
    known = {one.stream: one for one in status.streams}
    rows = []
    for stream in hello.streams:
        one = known.get(stream)
        if one is None:
            rows.append((stream, "starting", "-", "-", "-", ""))
            continue
        state = f"{one.state}, paused" if one.paused else one.state
        width, height = one.size
        rows.append((stream, state, f"{width}x{height}", f"{one.fps_in:.1f}", str(one.objects), one.source))
    print_table([("STREAM", "STATE", "SIZE", "FPS", "OBJECTS", "SOURCE"), *rows])
