"""What an address of a source means: the table of source kinds. Opens nothing."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from streamseg.common.redact import redact
from streamseg.errors import ConfigError
from streamseg.sources.scene.spec import SceneSpec, nearest

if TYPE_CHECKING:
    from streamseg.sources.av_options import AvKind

Kind = Literal["rtsp", "rtmp", "http", "hls", "v4l2", "file", "images", "lavfi", "scene"]

_URL_KINDS: Final[dict[str, AvKind]] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtsp+listen": "rtsp",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "rtmp+listen": "rtmp",
    "http": "http",
    "https": "http",
}
_PREFIXES: Final = ("file", "webcam", "lavfi", "scene")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DEVICE: Final = re.compile(r"/dev/video\d+")


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What can be said of a source without opening it.

    Attributes:
        kind: As in :class:`streamseg.sources.base.SourceInfo`.
        live: It goes on whether it is read or not: its ring takes the newest frame. Otherwise every frame counts,
            at whatever pace it is read.
    """

    kind: Kind
    live: bool


def describe(address: str) -> SourceDescription:
    """Say what kind of source an address names, without opening it.

    A camera that is not there (a missing ``/dev/video0``, a host that is down) is no error: it may come.

    Raises:
        ConfigError: the address is of no known kind, is incomplete, or names a file or folder that does not exist.
    """
    kind, target = classify(address)
    if kind == "scene":
        return SourceDescription("scene", SceneSpec.parse(target).live)
    return SourceDescription(kind, kind not in ("file", "images", "lavfi"))


def local_path(address: str) -> Path | None:
    """Return the file or folder that an address names, whether it exists or not; None for any other source."""
    scheme = _scheme(address)
    if scheme == "file":
        rest = address.partition(":")[2]
        # file:///a/b and file://localhost/a/b are URLs, file:a/b is a path with a prefix.
        return Path(unquote(urlsplit(address).path)) if rest.startswith("//") else Path(rest)
    if _DEVICE.fullmatch(address) or (scheme is not None and not os.path.exists(address)):  # noqa: PTH110 - never raises
        return None
    return Path(address)


def classify(address: str) -> tuple[Kind, str]:
    """Return the kind of an address and the form of it that the kind's class takes."""
    path = local_path(address)
    if path is not None:
        return _classify_path(address, path)
    if _DEVICE.fullmatch(address):
        return "v4l2", address
    scheme = _scheme(address) or ""
    rest = address.partition(":")[2]
    if scheme in _URL_KINDS:
        return _classify_url(address, scheme)
    if scheme == "webcam":
        if not (rest.isascii() and rest.isdigit()):
            raise ConfigError(f"{address!r} names no webcam: write webcam:NUMBER, for example webcam:0")
        return "v4l2", f"/dev/video{int(rest)}"
    if scheme == "lavfi":
        if not rest:
            raise ConfigError("'lavfi:' names no filter: write for example lavfi:testsrc2=size=640x360:rate=30")
        return "lavfi", rest
    if scheme == "scene":
        return "scene", address
    known = (*_URL_KINDS, *_PREFIXES)
    raise ConfigError(
        f"{redact(address)!r}: sources of kind {scheme!r} are unknown{nearest(scheme, known)} (known: "
        f"{', '.join(f'{name}:' for name in known)}, /dev/videoN, and paths of files and folders)"
    )


def _classify_url(address: str, scheme: str) -> tuple[Kind, str]:
    try:
        parts = urlsplit(address)
        host = parts.hostname
        parts.port  # noqa: B018 - looked at because it raises for a port that is none
    except ValueError as error:
        raise ConfigError(f"{redact(address)!r} is no valid address: {error}") from None
    if not host:
        raise ConfigError(f"{redact(address)!r} names no host: write {scheme}://HOST/PATH")
    kind = _URL_KINDS[scheme]
    return ("hls" if kind == "http" and parts.path.lower().endswith((".m3u8", ".m3u")) else kind), address


def _classify_path(address: str, path: Path) -> tuple[Kind, str]:
    if address in ("", "file:"):
        raise ConfigError("the address of a source is empty: write for example scene:default, or the path of a video")
    try:
        path = path.expanduser()
        if path.is_dir():
            return "images", str(path)
        if path.exists():
            return "file", str(path)
        folder = next(parent for parent in path.parents if parent.is_dir())
        missing = path.relative_to(folder).parts[0]
        similar = difflib.get_close_matches(missing, sorted(entry.name for entry in folder.iterdir()), n=1)
    except (OSError, ValueError, RuntimeError) as error:
        # No permission, a name that is too long, a NUL in it, an unknown ~user.
        raise ConfigError(f"{redact(address)!r} cannot be a file or folder: {error}") from None
    mend = (
        f"did you mean {str(folder / similar[0])!r}?" if similar else f"{str(folder.resolve())!r} holds nothing alike"
    )
    raise ConfigError(f"there is no file or folder {redact(address)!r}: {mend}")


def _scheme(address: str) -> str | None:
    """The lower-case scheme of an address; None for a path. One letter is no scheme."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else None
