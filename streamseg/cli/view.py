"""``streamseg view``: show a stream with its masks, in a window or a file."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamseg.cli.daemon_options import Key, ServerKey
from streamseg.errors import SubscribeTimeoutError
from streamseg.protocol.topics import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamseg.client import PairedSubscriber
    from streamseg.client.results import FramePair

_VIDEO_FRAMES: Final = 300
_FIRST_S: Final = 30.0
_TURN_S: Final = 0.25


def view(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where the daemon publishes.")] = DEFAULT_ENDPOINT,
    stream: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of the stream. Default: the first that sends a picture.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write FILE.mp4, or FILE.png (one picture), instead of opening a window."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Stop after N frames. Default: {_VIDEO_FRAMES} for MP4, 1 for PNG."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="S",
            help=f"Fail if no picture arrives for S seconds. Default: {_FIRST_S:g} for the first, then no limit, since "
            "a camera may be offline for a while.",
        ),
    ] = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Show a stream with its masks in a window (q closes it), or write a file if there is no display.

    [bold]Examples[/bold]

      streamseg view

      streamseg view tcp://127.0.0.1:5555 --stream gate --out gate.mp4 --frames 100
    """
    from streamseg.cli.window import window_obstacle

    def pairs(keep_going: Callable[[], bool] = lambda: True) -> Iterator[FramePair]:
        return _pairs(endpoint, stream, timeout, key, server_key, keep_going)

    obstacle = window_obstacle()
    if out is None and obstacle is None:
        _show(endpoint, pairs, frames)
        return
    if out is None:
        out = Path(f"streamseg-{stream or 'view'}.mp4")
        print(f"no window: {obstacle}; writing {out}")
    _write(out, pairs(), frames)


def _show(endpoint: str, pairs: Callable[[Callable[[], bool]], Iterator[FramePair]], frames: int | None) -> None:
    from streamseg.cli.draw_pair import draw_pair
    from streamseg.cli.window import Window

    window = Window(f"streamseg {endpoint}")
    try:
        for number, pair in enumerate(pairs(window.is_open), 1):
            if not window.show(draw_pair(pair)) or number == frames:
                return
    finally:
        window.close()


def _write(out: Path, pairs: Iterator[FramePair], frames: int | None) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from streamseg.cli.draw_pair import draw_pair
    from streamseg.cli.video_writer import IMAGE_SUFFIX, open_writer

    wanted = frames or (1 if out.suffix.lower() == IMAGE_SUFFIX else _VIDEO_FRAMES)
    console = Console(stderr=True)
    written, name = 0, ""
    with open_writer(out) as file, Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"writing {out}", total=wanted)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # keep what was written, as after Ctrl-C
        try:
            for pair in pairs:
                file.add(draw_pair(pair), pair.masks.t_captured_ns / 1e9)
                written, name = written + 1, pair.stream
                bar.update(task, completed=written)
                if written == wanted:
                    break
        except KeyboardInterrupt:
            if not written:
                raise
    print(f"{out}: {written} frame{'' if written == 1 else 's'} of stream {name}")


def _pairs(
    endpoint: str,
    stream: str | None,
    timeout_s: float | None,
    key: Path | None,
    server_key: str | None,
    keep_going: Callable[[], bool],
) -> Iterator[FramePair]:
    """Yield pictures with the masks of the same frame, of one stream, while ``keep_going()`` is true."""
    from streamseg.client import PairedSubscriber

    streams = [stream] if stream else None
    with PairedSubscriber(endpoint, streams=streams, key_file=key, server_key=server_key) as subscriber:
        pair: FramePair | None = subscriber.receive(timeout_s or _FIRST_S)
        while pair is not None:
            stream = stream or pair.stream
            if pair.stream == stream:
                yield pair
            pair = subscriber.receive(timeout_s) if timeout_s else _receive_after_outage(subscriber, keep_going)


def _receive_after_outage(subscriber: PairedSubscriber, keep_going: Callable[[], bool]) -> FramePair | None:
    while keep_going():
        try:
            return subscriber.receive(_TURN_S)
        except SubscribeTimeoutError:
            continue
    return None
