"""``streamseg record``, ``streamseg replay`` and ``streamseg export``: recordings of what a daemon publishes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from streamseg.cli.daemon_options import Key, ServerKey
from streamseg.cli.until_signal import ended_by_signal
from streamseg.common.redact import redact
from streamseg.protocol.topics import DEFAULT_ENDPOINT

_STATUS_S: Final = 10.0

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The recording: a folder, or one of its files.")]
Endpoint = Annotated[str, typer.Option("--endpoint", metavar="ENDPOINT", help="Where the daemon publishes.")]


def record(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[ENDPOINT] DIR",
            help="Where the daemon publishes; folder of the recording, appended to if it exists.",
        ),
    ],
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this stream; repeat for several. Default: all.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Record pictures, too: about 0.4 MB each at 1080p.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Stop after S seconds.")] = None,
    segment_mb: Annotated[int, typer.Option(min=1, metavar="MB", help="Begin a new file at this size.")] = 256,
    segment_minutes: Annotated[float, typer.Option(min=0.01, metavar="MIN", help="Or after this time.")] = 10.0,
    max_gb: Annotated[
        float | None, typer.Option(min=0.001, metavar="GB", help="Delete the oldest files beyond this size.")
    ] = None,
    max_hours: Annotated[float | None, typer.Option(min=0.01, metavar="H", help="Delete files that are older.")] = None,
    keep_free_mb: Annotated[
        int, typer.Option(min=0, metavar="MB", help="Stop when the disk has less space left.")
    ] = 1000,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Record masks, objects, events and status of a daemon, until Ctrl-C.

    Files are MCAP. What is written survives a crash and a full disk; the daemon may come and go.

    [bold]Examples[/bold]

      streamseg record recording/

      streamseg record tcp://camera-host:5555 recording/ --pictures --max-gb 50 --key robot.key_secret
    """
    from streamseg.client.keys import load_keys
    from streamseg.config.schema import RecordConfig
    from streamseg.record.process import kinds_of
    from streamseg.record.receive import receive_bytes
    from streamseg.record.recorder import Recorder, RecordLimits

    settings = RecordConfig(
        pictures=pictures,
        segment_mb=segment_mb,
        segment_minutes=segment_minutes,
        max_gb=max_gb,
        max_hours=max_hours,
        keep_free_mb=keep_free_mb,
    )
    *named, last = places
    if len(named) > 1:
        raise typer.BadParameter(f"{' '.join(places)!r}: give the folder of the recording, and an endpoint before it")
    if named and endpoint != DEFAULT_ENDPOINT:
        raise typer.BadParameter(f"two endpoints are given, {named[0]!r} and --endpoint {endpoint}: leave one out")
    if named and "://" not in named[0]:
        raise typer.BadParameter(
            f"{named[0]!r} is not an endpoint: write tcp://HOST:PORT or ipc:///PATH before the folder"
        )
    endpoint, folder = (named or [endpoint])[0], Path(last)
    keys = load_keys(key, server_key)
    ended = ended_by_signal()
    until_s = None if seconds is None else time.monotonic() + seconds

    def stopped() -> bool:
        return ended.is_set() or (until_s is not None and time.monotonic() >= until_s)

    gaps, next_line_s = 0, time.monotonic() + _STATUS_S
    with Recorder(folder, RecordLimits.of(settings)) as recorder:
        print(redact(f"recording {endpoint} to {folder}; Ctrl-C ends it"), file=sys.stderr, flush=True)
        try:
            for received in receive_bytes(endpoint, stream or None, kinds_of(settings), stopped, keys):
                if received is not None:
                    parts, message = received
                    recorder.write(parts, time.time_ns())
                    gaps += message.gap
                if time.monotonic() >= next_line_s:
                    next_line_s += _STATUS_S
                    print(f"{recorder.messages} messages, {gaps} lost on the way", file=sys.stderr, flush=True)
        finally:
            print(f"recorded {recorder.messages} messages, {gaps} lost on the way", file=sys.stderr, flush=True)


def replay(
    folder: Folder,
    endpoint: Annotated[
        str, typer.Option("--endpoint", metavar="ENDPOINT", help="Where to publish.")
    ] = DEFAULT_ENDPOINT,
    speed: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="FACTOR", help="Relative speed; 0: as fast as subscribers read."),
    ] = 1.0,
    start: Annotated[
        float, typer.Option(min=0, metavar="S", help="Begin S seconds after the recording's start.")
    ] = 0.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, as a restarted daemon.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Begin with the first subscriber.")] = False,
) -> None:
    """Publish a recording as if its daemon ran.

    Masks and headers are those of the recording, byte for byte, except session, publisher and t_published_ns.

    [bold]Examples[/bold]

      streamseg replay recording/

      streamseg replay recording/ --loop --speed 2
    """
    from streamseg.record.replay import Replay

    ended = ended_by_signal()
    player = Replay(endpoint, lossless=speed == 0)
    try:
        if wait:
            player.wait_for_subscriber(folder, ended.is_set)
        while True:
            count = player.play(folder, speed=speed, start_s=start, stopped=ended.is_set)
            print(f"replayed {count} messages at {endpoint}, {player.dropped} dropped", file=sys.stderr, flush=True)
            if not loop or ended.is_set():
                break
    finally:
        player.close()


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; it must be empty or not exist.")],
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="coco, yolo, davis or labelme.")] = "coco",
    stream: Annotated[str | None, typer.Option(metavar="ID", help="Only this stream.")] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Only every Nth frame.")] = 1,
) -> None:
    """Turn a recording into files for annotation tools and training.

    Pictures are written if they were recorded (streamseg record --pictures); frames without one are then left out.

    [bold]Examples[/bold]

      streamseg export recording/ dataset/ --format yolo --every 10
    """
    from streamseg.record.export.run import export_recording

    count = export_recording(folder, out, form, stream=stream, every=every)
    print(redact(f"{count} frames in {out}"), file=sys.stderr)
