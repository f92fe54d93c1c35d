"""``streamseg demo``: run the whole daemon on a generated scene for a minute, measure it, and draw the masks."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamseg.cli.prompt_options import CoordsOption, prompt_of
from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.table import Table

    from streamseg.cli.demo_watch import Followed, Measured
    from streamseg.config.schema import Config
    from streamseg.sources.scene.source import Scene

_STREAM: Final = "demo"
_SECONDS: Final = 60.0
_WRITE_S: Final = 60.0  # to write the video of the last minute
_PAGE: Final = "127.0.0.1:8080"
_MAX_DROPPED: Final = 0.05
_MAX_BEHIND_S: Final = 1.0

_OPTIONS: Final = {
    f"streams.{_STREAM}.source": "--source",
    f"streams.{_STREAM}.pace": "--pace",
    f"streams.{_STREAM}.prompts[0]": "--point, --box, --mask",
    f"streams.{_STREAM}.prompts[0].points": "--point",
    f"streams.{_STREAM}.prompts[0].box": "--box",
    f"streams.{_STREAM}.prompts[0].mask": "--mask",
    "model.name": "--model",
    "model.device": "--device",
}
"""Setting -> the option that sets it."""


def demo(
    model: Annotated[
        str, typer.Option(metavar="NAME", help="A name of 'streamseg models list'; color needs no model.")
    ] = "nano",
    seconds: Annotated[
        float | None,
        typer.Option(min=0, max=3600, help=f"Duration in seconds; 0: until Ctrl-C. Default: {_SECONDS:g}."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, max=100_000, metavar="N", help="Stop after N frames.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the generated scene in pixels.")] = "640x360",
    source: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Use your own clip instead of the scene; mark an object on its first frame with --point, --box or "
            "--mask.",
        ),
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="With --source: a point on the object; X,Y,0 is not on it.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="With --source: a box around the object.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --source: an image of the object's mask.")
    ] = None,
    coords: CoordsOption = None,
    pace: Annotated[
        str,
        typer.Option(
            metavar="camera|live|fast",
            help="With --source: drop frames like a camera if the model is slow, or track every frame.",
        ),
    ] = "camera",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the model runs.")] = "auto",
    page: Annotated[
        bool, typer.Option("--page/--no-page", help=f"Serve the web page at {_PAGE}, or at a free port.")
    ] = True,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Write the drawn masks to FILE.mp4, or the last frame to FILE.png.")
    ] = Path("streamseg-demo.mp4"),
) -> None:
    """Try streamseg without a camera: the daemon tracks objects in a generated scene.

    A subscriber compares the masks with the scene's true masks and draws them. Meanwhile a web page shows the stream;
    click on it to track more objects.

    [bold]Examples[/bold]

      streamseg demo

      streamseg demo --seconds 0

      streamseg demo --model color --frames 60 --out demo.png

      streamseg demo --model small --source clip.mp4 --box 100,80,420,400
    """
    from streamseg.cli.option_words import settings_as_options
    from streamseg.cli.video_writer import check_out
    from streamseg.common.locked_folder import locked_folder
    from streamseg.config.load import config_from_mapping
    from streamseg.paths import socket_endpoint, sockets_parent

    if frames is not None and seconds is not None:
        raise ConfigError("--frames and --seconds cannot be combined: use one of them")
    check_out(out)  # before the model is loaded
    prompt = prompt_of(point or (), box, mask, coords)
    stream, scene = _clip(source, prompt, pace) if source is not None else _scene(model, size, prompt)
    with locked_folder(sockets_parent(), "streamseg-demo-") as folder:
        settings = {
            "streams": {_STREAM: stream},
            "model": {"name": model, "device": device},
            # A private path: it needs no port and cannot collide with another daemon.
            "publish": {"endpoints": [socket_endpoint(folder, "masks")], "wait_for_subscriber": True},
            "http": {"listen": _page_address()} if page else {},
            "log": {"level": "warning"},
        }
        with settings_as_options(_OPTIONS):
            config = config_from_mapping(settings)
        length_s = _SECONDS if seconds is None else seconds
        _print_plan(config, scene)
        _print_length(frames, length_s)
        measured = _run(config, scene, out, frames, length_s)
    _print_summary(measured, config, out)
    if not measured.frames:
        raise typer.Exit(130)


def _scene(model: str, size: str, prompt: dict[str, Any] | None) -> tuple[dict[str, Any], Scene]:
    """The generated scene, with a box around each of its objects on frame 0."""
    from streamseg.models.registry import kind_of
    from streamseg.sources.scene.source import Scene

    if prompt is not None:
        raise ConfigError("--point, --box and --mask need --source: the objects of the scene are marked already")
    # The color tracker needs objects of a single color.
    plain = kind_of(model) != "sam2"
    scene = Scene(f"scene:{'simple' if plain else 'default'}?size={size}")
    prompts = []
    for obj_id, name in scene.names.items():
        x, y, w, h = scene.truth_box(0, obj_id)
        if w and h:
            prompts.append({"object": obj_id, "label": name, "box": [x, y, x + w, y + h]})
    return {"source": scene.spec.address, "prompts": prompts}, scene


def _page_address() -> str:
    """Address of the web page: the usual port, or a free one."""
    from streamseg.web.listen import listen_on

    try:
        bound, _ = listen_on(_PAGE)
    except ConfigError:
        return f"{_PAGE.partition(':')[0]}:0"
    bound.close()
    return _PAGE


def _clip(source: str, prompt: dict[str, Any] | None, pace: str) -> tuple[dict[str, Any], None]:
    if prompt is None:
        raise ConfigError(
            "--source needs an object to track, on the clip's first frame: use --point X,Y, --box X0,Y0,X1,Y1 or "
            "--mask FILE"
        )
    # Play it as a camera, or the clip would fall further and further behind with a slow model.
    return {"source": source, "pace": pace, "prompts": [prompt]}, None


def _print_plan(config: Config, scene: Scene | None) -> None:
    from streamseg.models.registry import resolve
    from streamseg.sources.address import shown_address

    resolve(config.model)  # report a missing checkpoint before any process is started
    print(f"model {config.model.name} on {shown_address(config.streams[_STREAM].source)}")
    if scene is not None:
        print(f"objects: {', '.join(scene.names.values())}")


def _print_length(frames: int | None, seconds: float) -> None:
    from streamseg.cli.demo_watch import VIDEO_S

    if frames is not None:
        print(f"runs for {frames} frames")
    elif seconds:
        print(f"runs for {seconds:g} s; --seconds 0 runs until Ctrl-C")
    else:
        print(f"runs until Ctrl-C; the video keeps the last {VIDEO_S:g} s")


def _run(config: Config, scene: Scene | None, out: Path, frames: int | None, seconds: float) -> Measured:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from streamseg.cli.demo_watch import Watcher
    from streamseg.common.logs import setup_logging
    from streamseg.daemon.supervisor import Daemon

    setup_logging(config.log, "demo")
    console = Console()
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting: loading the model ...")
        if not console.is_terminal:
            print("starting: loading the model ...", flush=True)
        next_line_s = 0.0

        def progress(measured: Measured) -> None:
            nonlocal next_line_s
            bar.update(task, description=measured.now())
            if not console.is_terminal and measured.seconds >= next_line_s:
                next_line_s = measured.seconds + 1.0
                print(measured.now(), flush=True)

        daemon = Daemon(config)
        watcher = Watcher(
            config.publish.endpoints[0],
            _STREAM,
            scene=scene,
            out=out,
            frames=frames,
            seconds=seconds,
            progress=progress,
            done=daemon.stop,
        )

        def begin() -> None:
            if daemon.page is not None:
                # Not print(), which would break the progress line.
                console.print(f"web page: {daemon.page}", soft_wrap=True)
            # The scene starts when the watcher subscribes. The worker is ready by then, so frame 0 is tracked.
            watcher.start()

        try:
            daemon.run(begin)
        finally:
            watcher.stop()
            if watcher.ident is not None:
                watcher.join(timeout=_WRITE_S)
    if watcher.error is not None:
        raise watcher.error
    return watcher.measured


def _print_summary(measured: Measured, config: Config, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    if not measured.frames:
        print("stopped before the first frame")
        return
    table = Table(title="Received by a subscriber", title_justify="left", show_header=False)
    table.add_row("model", config.model.name)
    table.add_row("frames", f"{measured.frames} of {measured.size[0]}x{measured.size[1]}")
    table.add_row("frames/s", f"{measured.rate:.1f}")
    table.add_row("dropped", f"{measured.dropped} frames (newest wins)")
    if (late := _late(measured, config.streams[_STREAM].pace)) is not None:
        table.add_row("pace", late)
    ordered = sorted(measured.latencies_ms)
    table.add_row("camera to subscriber", f"median {statistics.median(ordered):.0f} ms, longest {ordered[-1]:.0f} ms")
    table.add_row("written to", str(out))
    console = Console()
    console.print(table)
    console.print(_objects_table(measured))


def _late(measured: Measured, pace: str) -> str | None:
    """Return a message if the model cannot keep pace with the video, otherwise None."""
    total = measured.frames + measured.dropped
    if measured.dropped > _MAX_DROPPED * total:
        return (
            f"the model is too slow for this video: {100 * measured.dropped / total:.0f} % of its frames were dropped; "
            "a smaller model or a smaller video keeps pace"
        )
    if pace == "live" and measured.behind_s > _MAX_BEHIND_S:
        return (
            f"the model is too slow for this video: it fell {measured.behind_s:.0f} s behind; with --pace camera it "
            "drops frames"
        )
    return None


def _objects_table(measured: Measured) -> Table:
    """Return the table of results per object."""
    from rich.table import Table

    every = measured.objects.values()
    compared = sum(one.compared for one in every)
    table = Table(title="Objects", title_justify="left")
    table.add_column("object")
    for column in (*(("IoU", "on another object") if compared else ()), "confidence", "uncertain", "not visible"):
        table.add_column(column, justify="right")
    for obj_id, one in measured.objects.items():
        table.add_row(f"{obj_id} {one.label}".strip(), *(_truth_cells([one]) if compared else ()), *_score_cells(one))
    if compared:
        table.add_section()
        table.add_row("IoU of all", *_truth_cells(every))
    return table


def _truth_cells(objects: Collection[Followed]) -> tuple[str, str]:
    compared = max(1, sum(one.compared for one in objects))
    iou, elsewhere = sum(one.iou for one in objects), sum(one.elsewhere for one in objects)
    return f"{iou / compared:.3f}", f"{100 * elsewhere / compared:.1f} %"


def _score_cells(one: Followed) -> tuple[str, str, str]:
    """Return the mean confidence (empty if the model has none), and how often the mask was uncertain or missing."""
    frames, seen = max(1, one.frames), max(1, one.frames - one.unseen)
    confidence = "" if one.confidence is None else f"{one.confidence / seen:.2f}"
    return confidence, f"{100 * one.uncertain / frames:.0f} %", f"{100 * one.unseen / frames:.0f} %"
