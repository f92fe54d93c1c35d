"""``streamseg probe``: measure a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.frame import SourceFrame
    from streamseg.sources.probe import ProbeReport

_OPTIONS: Final = {
    "streams.probe.source": "URL",
    "streams.probe.transport": "--transport",
    "streams.probe.open_timeout_s": "--timeout",
}
"""Setting -> the argument or option that sets it."""
_JPEG_QUALITY: Final = 80


def probe(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Camera, file or scene; '${NAME}' is an environment variable.")
    ],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long to measure, in seconds.")] = 5.0,
    transport: Annotated[str, typer.Option(metavar="tcp|udp", help="RTSP: transport of the media packets.")] = "tcp",
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="Maximum time to open the source, in seconds.")
    ] = 10.0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the first picture to this file, as JPEG.")
    ] = None,
    follow_redirects: Annotated[
        bool, typer.Option(help="http and https: follow redirects and playlists to other addresses.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Open a video source and report its size, frame rate, codec, latency and clock.

    [bold]Examples[/bold]

      streamseg probe webcam:0

      streamseg probe 'rtsp://me:${PASSWORD}@cam/1'
    """
    import sys
    from functools import partial

    from streamseg.cli.option_words import settings_as_options
    from streamseg.config.load import config_from_mapping
    from streamseg.errors import SourceError
    from streamseg.sources.address import standard_input
    from streamseg.sources.probe import probe as measure

    stream = {
        "source": standard_input() if url == "-" else url,
        "transport": transport,
        "open_timeout_s": timeout,
        "follow_redirects": follow_redirects,
    }
    with settings_as_options(_OPTIONS):
        config = config_from_mapping({"streams": {"probe": stream}})
    if sys.stderr.isatty():
        print(f"measuring for {seconds:g} s ...", file=sys.stderr)
    try:
        if picture is None:
            report = measure(config.streams["probe"], seconds)
        else:
            report = measure(config.streams["probe"], seconds, partial(_save_picture, picture))
    except SourceError as error:
        text = str(error).replace("half of open_timeout_s", f"half of --timeout {timeout:g}")
        raise type(error)(text.replace("open_timeout_s", "--timeout")) from None
    if as_json:
        from streamseg.protocol.text import encode_json

        print(encode_json(report).decode())
    else:
        for name, value in _lines(report):
            print(f"{name:<13} {value}")


def _save_picture(path: Path, frame: SourceFrame) -> None:
    import numpy as np

    from streamseg.frame import Frame
    from streamseg.publish.picture import encode_jpeg

    planes = tuple(np.ascontiguousarray(plane) for plane in frame.planes)
    try:
        path.write_bytes(encode_jpeg(Frame(0, 0, frame.format, planes, frame.stamps), _JPEG_QUALITY))
    except OSError as error:
        raise ConfigError(f"--picture {path}: {error.strerror}") from None


def _lines(report: ProbeReport) -> list[tuple[str, str]]:
    """Return the report as readable (name, value) pairs."""
    shape = report.format
    length = f", {report.frames_announced} frames" if report.frames_announced is not None else ""
    lines = [
        ("source", report.address),
        ("kind", f"{report.kind}, {'live' if report.live else 'file: no frame is dropped'}{length}"),
        ("codec", report.codec),
        ("size", f"{shape.width} x {shape.height}, {shape.pixel_format}{_color(report)}{_aspect(report)}"),
        ("rate", f"{_number(report.rate_measured)} frames/s measured, {_number(report.rate_announced)} announced"),
        ("frames", f"{report.frames} in {report.seconds:.1f} s{', then it ended' if report.ended else ''}"),
        ("damaged", f"{report.corrupt} packets"),
        ("opened in", f"{report.open_s * 1000:.0f} ms, first frame after {report.first_frame_s * 1000:.0f} ms"),
        ("decoding", f"{report.decode_ms:.1f} ms per frame"),
        ("jitter", f"+-{_number(report.jitter_ms)} ms between frames, longest gap {_number(report.longest_gap_ms)} ms"),
        ("clock", _clock(report)),
    ]
    return [(name, value) for name, value in lines if value]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


def _color(report: ProbeReport) -> str:
    if report.format.pixel_format not in ("yuv420p", "nv12"):
        return ""
    return f" {report.format.matrix}, {'full' if report.format.full_range else 'video'} range"


def _aspect(report: ProbeReport) -> str:
    across, down = report.format.sample_aspect
    return "" if across == down else f", pixels of {across}:{down}"


def _clock(report: ProbeReport) -> str:
    match report.clock:
        case "rtcp":
            offset = f", {report.clock_offset_ms:+.0f} ms when decoded" if report.clock_offset_ms is not None else ""
            return f"the camera's own (RTCP){offset}"
        case "arrival":
            return "this machine's, at the arrival of a frame"
        case "file":
            return "this machine's, when a frame is played"
