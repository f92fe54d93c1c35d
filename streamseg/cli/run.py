"""``streamseg run``: start the daemon."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamseg.cli.prompt_options import CoordsOption, prompt_of
from streamseg.errors import ConfigError
from streamseg.protocol.topics import is_public

if TYPE_CHECKING:
    from streamseg.config.schema import Config

STREAM: Final = "cam"
"""Id of the stream that ``--source`` creates."""

_CONFIG_SUFFIXES: Final = (".yaml", ".yml", ".json", ".conf", ".cfg", ".example", ".tmpl")
"""A file with another suffix is a video or an image; without one, it is a configuration."""

_OPTIONS: Final = {
    f"streams.{STREAM}.source": "SOURCE",
    f"streams.{STREAM}.pace": "--pace",
    f"streams.{STREAM}.loop": "--loop",
    f"streams.{STREAM}.prompts[0]": "--point, --box, --mask",
    f"streams.{STREAM}.prompts[0].points": "--point",
    f"streams.{STREAM}.prompts[0].box": "--box",
    f"streams.{STREAM}.prompts[0].mask": "--mask",
    "model.name": "--model",
    "model.config": "--model-config",
    "model.device": "--device",
    "publish.endpoints": "--endpoint",
    "publish.wait_for_subscriber": "--wait-for-subscriber",
    "control.endpoint": "--control",
    "http.listen": "--http",
    "log.level": "--log-level",
    "log.format": "--log-format",
}
"""Setting -> the option that sets it."""

_ONE = "One source, without a configuration file"
_BOTH = "With or without a configuration file"


def run(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG|SOURCE",
            help="YAML file (see docs/configuration.md and configs/), or a camera, video file or folder, as --source.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Camera, file or scene: rtsp://..., webcam:0, clip.mp4, scene:default. The stream's id is 'cam'. "
            "Write '${NAME}' to take a password from the environment.",
            rich_help_panel=_ONE,
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y",
            help="A point on the object; X,Y,0 is a point not on it. In pixels, or in percent: 50%,40%. "
            "All points belong to one object.",
            rich_help_panel=_ONE,
        ),
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.", rich_help_panel=_ONE)
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An image of the object's mask, of the video's size; every pixel that is not black counts.",
            rich_help_panel=_ONE,
        ),
    ] = None,
    coords: CoordsOption = None,
    pace: Annotated[
        str | None,
        typer.Option(metavar="live|fast|camera", help="Files: play at their own rate (live).", rich_help_panel=_ONE),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Files: start over at the end.", rich_help_panel=_ONE)] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A name of 'streamseg models list', or a checkpoint.", rich_help_panel=_BOTH),
    ] = None,
    model_config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="With the path of a checkpoint: its sam2 config or YAML file.",
            rich_help_panel=_BOTH,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="auto|cpu|cuda", help="Device of the model.", rich_help_panel=_BOTH)
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where to publish masks: tcp://127.0.0.1:5555 (default) or ipc:///PATH. Repeat for several.",
            rich_help_panel=_BOTH,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where the daemon takes control requests: ipc:///PATH or tcp://127.0.0.1:PORT. Default: one per user.",
            rich_help_panel=_BOTH,
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve a web page to watch and click, and the HTTP API, for example at 127.0.0.1:8080.",
            rich_help_panel=_BOTH,
        ),
    ] = None,
    wait_for_subscriber: Annotated[
        bool,
        typer.Option(
            "--wait-for-subscriber", help="Open the sources when the first subscriber connects.", rich_help_panel=_BOTH
        ),
    ] = False,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="debug|info|warning|error", help="Lowest level that is logged.", rich_help_panel=_BOTH),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="text|json", help="Format of the log.", rich_help_panel=_BOTH)
    ] = None,
) -> None:
    """Track objects in one or more video streams and publish their masks, until Ctrl-C or the end of all files.

    Pass a CONFIG file, or the address of a SOURCE for a single stream without a file.

    With a CONFIG, options of the last group override its settings.

    [bold]Examples[/bold]

      streamseg run webcam:0 --model small --point 320,240

      streamseg run 'rtsp://me:${PASSWORD}@cam/1' --box 10,20,300,400

      streamseg run clip.mp4 --pace fast --point 50%,50%

      streamseg run configs/several_cameras.yaml --device cuda

      streamseg run webcam:0 --model mine.pt --model-config sam2.1_hiera_t.yaml --point 50%,50%
    """
    overrides = _overrides(
        model, model_config, device, endpoint, control, http, wait_for_subscriber, log_level, log_format
    )

    prompt = prompt_of(point or (), box, mask, coords)
    if config is not None and _is_source(config):
        if source is not None:
            raise ConfigError("the source is given twice, with and without --source: remove one of them")
        config, source = None, config
    if source == "-":
        from streamseg.sources.address import standard_input

        source = standard_input()
    stream = {"source": source, "pace": pace, "loop": loop or None, "prompts": [prompt] if prompt else None}
    given = {name: value for name, value in stream.items() if value is not None}
    if config is None:
        raise typer.Exit(_run(_from_options(overrides, given), None))
    read_config = partial(_from_file, Path(config), overrides, given)
    raise typer.Exit(_run(read_config(), read_config, Path(config)))


def _is_source(argument: str) -> bool:
    """Whether an argument names a source, not a configuration file."""
    from streamseg.sources.address import local_path

    path = local_path(argument)
    if path is None or argument in ("-", "webcam") or argument.isdigit() or os.path.isdir(path):  # noqa: PTH112
        return True
    return _is_device(path) or path.suffix.lower() not in ("", *_CONFIG_SUFFIXES)


def _is_device(path: Path) -> bool:
    """Whether a path is a device or a socket: not a configuration, so the source's check reports what is wrong."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode)


def _overrides(
    model: str | None,
    model_config: str | None,
    device: str | None,
    endpoints: list[str] | None,
    control: str | None,
    http: str | None,
    wait_for_subscriber: bool,
    log_level: str | None,
    log_format: str | None,
) -> dict[str, dict[str, Any]]:
    from streamseg.config.relative import absolute_path, model_name_at

    if model is not None:
        model = model_name_at(Path.cwd(), model)
    if model_config is not None and os.path.isfile(file := absolute_path(Path.cwd(), model_config)):  # noqa: PTH113
        model_config = file
    settings: dict[str, dict[str, Any]] = {
        "model": {"name": model, "config": model_config, "device": device},
        "publish": {"endpoints": endpoints or None, "wait_for_subscriber": wait_for_subscriber or None},
        "control": {"endpoint": control},
        "http": {"listen": http},
        "log": {"level": log_level, "format": log_format},
    }
    groups = {
        group: {name: value for name, value in values.items() if value is not None}
        for group, values in settings.items()
    }
    return {group: values for group, values in groups.items() if values}


def _from_file(path: Path, overrides: dict[str, dict[str, Any]], given: dict[str, Any]) -> Config:
    from streamseg.cli.option_words import settings_as_options
    from streamseg.config.load import load_config

    if given:
        names = ", ".join({"prompts": "--point, --box or --mask"}.get(name, f"--{name}") for name in given)
        raise ConfigError(f"{names} cannot be combined with a CONFIG: write it into {path}, or remove the CONFIG")
    overridden = {f"{group}.{name}" for group, values in overrides.items() for name in values}
    with settings_as_options({path: option for path, option in _OPTIONS.items() if path in overridden}):
        return load_config(path, overrides)


def _from_options(overrides: dict[str, dict[str, Any]], given: dict[str, Any]) -> Config:
    from streamseg.cli.option_words import settings_as_options
    from streamseg.config.load import config_from_mapping

    if "source" not in given:
        raise ConfigError(
            "nothing to run: pass a CONFIG or a SOURCE, for example\n"
            "  streamseg run webcam:0 --model small --point 320,240\n"
            "  streamseg demo"
        )
    with settings_as_options(_OPTIONS):
        return config_from_mapping({"streams": {STREAM: given}, **overrides})


def _open_to_others(config: Config) -> Iterator[str]:
    """Yield a warning for each endpoint that others can reach without a key."""
    publish, control = config.publish, config.control
    for endpoint in publish.endpoints if publish.allow_unauthenticated else ():
        if is_public(endpoint):
            yield f"{endpoint}: everyone who reaches it may watch (publish.allow_unauthenticated)"
    if control.allow_unauthenticated and (control.endpoint or "").startswith("tcp://"):
        yield f"{control.endpoint}: every user of this machine is in control (control.allow_unauthenticated)"


def _run(config: Config, read_config: Callable[[], Config] | None, file: Path | None = None) -> int:
    import logging

    from streamseg.common.logs import setup_logging
    from streamseg.daemon.supervisor import Daemon

    setup_logging(config.log, "supervisor")
    log = logging.getLogger(__name__)
    for stream, settings in config.streams.items():
        if not (settings.prompts or settings.find.enabled or settings.prompters):
            log.warning("stream %s has no prompts: nothing is tracked until one is added", stream)
    for text in _open_to_others(config):
        log.warning("%s", text)
    daemon = Daemon(config, read_config, file)

    def ready() -> None:
        log.info("ready: masks at %s", ", ".join(daemon.endpoints))
        if daemon.page is not None:
            log.info("the page is at %s", daemon.page)

    return daemon.run(ready)
