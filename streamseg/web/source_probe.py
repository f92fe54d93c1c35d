"""Tests an address before a stream is added: opens it in a separate process, measures it, returns a picture.

FFmpeg may block for a long time, or crash on data from an unknown server, and the page must keep working. The process
is ``streamseg probe``. It gets the address through its environment, because other users can read command lines.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from streamseg.common.redact import redact
from streamseg.web.api_error import ApiError

_SECONDS: Final = 1.5
_OPEN_TIMEOUT_S: Final = 8.0
_TIMEOUT_S: Final = 30.0
_VARIABLE: Final = "STREAMSEG_TESTED_SOURCE"
_MAX_OUTPUT: Final = 65536
_MAX_PICTURE: Final = 8 * 1024 * 1024


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an address delivers."""

    kind: Annotated[str, Meta(description="rtsp, http, hls, v4l2, ...")]
    live: Annotated[bool, Meta(description="It has no end of its own.")]
    codec: Annotated[str, Meta(description="Name of the codec.")]
    size: Annotated[tuple[int, int], Meta(description="Width and height in pixels.")]
    rate: Annotated[float | None, Meta(description="Frames per second that arrived; null with fewer than two.")]
    rate_announced: Annotated[float | None, Meta(description="Frames per second that it announces.")]
    corrupt: Annotated[int, Meta(description="Damaged packets.")]
    first_frame_s: Annotated[float, Meta(description="Seconds until the first picture.")]
    summary: Annotated[str, Meta(description="The same in one sentence.")]
    picture: Annotated[str, Meta(description="The first picture: JPEG, base64.")]
    name: Annotated[str, Meta(description="A free name for its stream, from the host of the address.")] = ""


class _Format(msgspec.Struct):
    width: int
    height: int


class _Report(msgspec.Struct):
    kind: str
    live: bool
    codec: str
    format: _Format
    rate_measured: float | None
    rate_announced: float | None
    corrupt: int
    first_frame_s: float


class SourceProbe:
    """Tests one address at a time."""

    def __init__(self) -> None:
        self._busy = asyncio.Lock()

    async def measure(self, source: str, *, transport: str, follow_redirects: bool) -> SourceReport:
        """Open an address and return what it delivers.

        Blocks: up to 30 s.

        Raises:
            ApiError: It cannot be opened, or another one is being tested.
        """
        if self._busy.locked():
            raise ApiError(503, "BUSY", "another address is being tested: try again in a moment", retryable=True)
        async with self._busy:
            with tempfile.TemporaryDirectory(prefix="streamseg-") as folder:
                picture = Path(folder) / "picture.jpg"
                redirects = "--follow-redirects" if follow_redirects else "--no-follow-redirects"
                output = await _run(
                    source,
                    [f"--seconds={_SECONDS:g}", f"--transport={transport}", f"--timeout={_OPEN_TIMEOUT_S:g}",
                     f"--picture={picture}", redirects],
                )  # fmt: skip
                return _report(output, picture)


async def _run(source: str, options: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        # -P: otherwise a module in the working directory could shadow one of ours.
        sys.executable, "-P", "-m", "streamseg", "probe", f"${{{_VARIABLE}}}", "--json", *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, _VARIABLE: source, "COLUMNS": "500", "NO_COLOR": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise ApiError(504, "TIMEOUT", f"source: no picture within {_TIMEOUT_S:g} s: check host and port") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise ApiError(422, "BAD_CONFIG", _message(errors))
    return output[:_MAX_OUTPUT]


def _report(output: bytes, picture: Path) -> SourceReport:
    try:
        report = msgspec.json.decode(output, type=_Report)
        jpeg = picture.read_bytes() if picture.stat().st_size <= _MAX_PICTURE else b""
    except (msgspec.DecodeError, OSError) as error:
        raise ApiError(500, "INTERNAL", f"source: the test gave no result: {error}") from None
    return SourceReport(
        kind=report.kind,
        live=report.live,
        codec=report.codec,
        size=(report.format.width, report.format.height),
        rate=report.rate_measured,
        rate_announced=report.rate_announced,
        corrupt=report.corrupt,
        first_frame_s=round(report.first_frame_s, 2),
        summary=_summary(report),
        picture=base64.b64encode(jpeg).decode(),
    )


def suggest_name(source: str, taken: Container[str]) -> str:
    """Return a free name for a stream, from the host of its address or the number of its webcam."""
    if "://" in source:
        host = ""
        with contextlib.suppress(ValueError):  # redacted, since the apparent host may be a part of the password
            host = urlsplit(redact(source)).hostname or ""
    else:
        host = source.replace(":", "")
    base = re.sub(r"[^a-z0-9_-]+", "-", host.lower()).strip("-_")[:40] or "camera"
    names = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)


def _summary(report: _Report) -> str:
    if report.rate_measured:
        rate = f"{report.rate_measured:.1f} frames/s"
    elif report.rate_announced:
        rate = f"{report.rate_announced:.1f} frames/s announced"
    else:
        rate = "one frame so far"
    kind = report.kind.upper() + ("" if report.live else " (a file)")
    size = f"{report.format.width} × {report.format.height}"
    damage = f", {report.corrupt} damaged packets" if report.corrupt else ""
    return f"{kind}, {report.codec}, {size}, {rate}, first picture after {report.first_frame_s:.1f} s{damage}."


def _message(errors: bytes) -> str:
    """Return the last line that the command printed, without its prefix."""
    lines = [line.strip() for line in errors[-4000:].decode(errors="replace").splitlines() if line.strip()]
    text = lines[-1] if lines else "it cannot be opened"
    return f"source: {text.removeprefix('streamseg: ').removeprefix('error: ')}"
