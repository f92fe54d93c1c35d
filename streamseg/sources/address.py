"""Parses the address of a source: its kind, and a form without secrets to show. Opens nothing."""

from __future__ import annotations

import difflib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

from streamseg.common.redact import mask_query, redact
from streamseg.errors import ConfigError, SourceOpenError
from streamseg.protocol.text import valid_text
from streamseg.sources.image_list import IMAGE_SUFFIXES, list_images
from streamseg.sources.scene.spec import SceneSpec, nearest

if TYPE_CHECKING:
    from streamseg.sources.av_options import AvKind

Kind = Literal[
    "rtsp", "rtmp", "http", "hls", "udp", "rtp", "srt", "sdp", "snapshot", "screen", "v4l2", "file", "images", "lavfi",
    "scene",
]  # fmt: skip

_URL_KINDS: Final[dict[str, AvKind]] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtsp+listen": "rtsp",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "rtmp+listen": "rtmp",
    "http": "http",
    "https": "http",
    "udp": "udp",
    "rtp": "rtp",
    "srt": "srt",
    "snapshot+http": "snapshot",
    "snapshot+https": "snapshot",
}
_RECEIVING: Final = frozenset({"udp", "rtp", "srt"})
"""Schemes whose host may be empty, which means any address of this machine."""

_PREFIXES: Final = ("file", "webcam", "screen", "lavfi", "scene")
_SUGGESTED: Final = tuple(name for name in (*_URL_KINDS, *_PREFIXES) if name != "srt")
"""Typo -> likely scheme. PyAV's FFmpeg has no SRT."""

_OTHER_PROTOCOLS: Final = frozenset(
    {
        *("amqp", "bluray", "concat", "data", "dtls", "fd", "ftp", "ftps", "gopher", "gophers", "gs", "ipfs", "ipns"),
        *("mms", "mmsh", "mmst", "ndi", "nfs", "onvif", "pipe", "rist", "rtmpe", "rtmpt", "rtmpte", "rtmpts", "s3"),
        *("scp", "sctp", "sftp", "smb", "srtp", "ssh", "tcp", "tls", "udplite", "unix", "webrtc", "whep", "whip", "ws"),
        *("wss", "zmq"),
    }
)
"""Protocols that are not supported, as opposed to typos."""
_WITHOUT_AT: Final = ("webcam", "screen", "scene")
"""Kinds whose addresses never contain an ``@``: one with an ``@`` is something else, maybe with a password."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DEVICE: Final = re.compile(r"/dev/video[0-9]{1,4}|/dev/v4l/by-(?:id|path)/[^/\0]{1,250}")
"""A webcam; its udev names stay the same in every port."""

_LIKE_DEVICE: Final = re.compile(r"/dev/video\d*")
_PATTERN: Final = re.compile(r"[*?\[]|%0?\d?d")
_WILDCARD: Final = re.compile(r"[*?\[]")
_DISPLAY: Final = re.compile(r"[\w.-]{0,253}:[0-9]{1,5}(\.[0-9]{1,3})?(\+[0-9]{1,5},[0-9]{1,5})?")
_MAX_WEBCAM_DIGITS: Final = 4

_AUTHORITY: Final = re.compile(r"[^/?#]*")
_AT_OF_PATH: Final = re.compile(r"(?:/[\w.%+~-]+)+@(?!localhost)[\w-]+(?:\?[^@]*)?")
"""After a host: an ``@`` that no host follows."""
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^\[\]:@\s]+)(:[0-9]{0,5})?")
_MAX_PORT: Final = 65535
_PATH_ASSIGNMENT: Final = re.compile(r"[^/&;]*=[^/]*")
_PATH_SECRET: Final = re.compile(
    r"(/(?:access[_-]?)?(?:tokens?|api[_-]?keys?|keys?|auth|pass(?:word|wd)?|pwd|secrets?|jwt|sid|session)/)[^/]+",
    re.IGNORECASE,
)
"""A path segment that is a secret by the name of the segment before it."""

_PATH_SEGMENT: Final = re.compile(r"[^/]+")
_MIN_TOKEN: Final = 20
_WORD: Final = re.compile(r"[A-Za-z]*|[0-9]*|[A-Za-z]{1,12}[0-9]{1,4}|[0-9]{1,4}[A-Za-z]{1,4}")
"""A part of a file name as people choose it (``door``, ``20260131``, ``camera12``, ``720p``), unlike a token."""

_STREAM_KEY: Final = re.compile(r"(.*/)([^/]+)(/*)", re.DOTALL)
"""The last segment of an RTMP path, with which anyone can publish to the stream."""

_MIN_SECRET: Final = 4
"""A shorter secret is hidden inside its address, but not wherever its letters occur."""


@dataclass(frozen=True, slots=True, repr=False)
class SourceAddress:
    """An address that knows its own secrets.

    Attributes:
        text: As given, secrets included.
        shown: For messages and logs: password, token, RTMP stream key and query values are ``***``. For an address that
            cannot be parsed it is only the scheme, since the end of its password is unknown.
        secrets: The parts of ``text`` that ``shown`` hides, as written and decoded.
        fault: What is wrong with it; None if it can be parsed. Never quotes it.
    """

    text: str
    shown: str
    secrets: tuple[str, ...] = ()
    fault: str | None = None

    @classmethod
    def of(cls, text: str) -> SourceAddress:
        """Parse an address. Never raises: a broken one has a ``fault``."""
        scheme, separator, rest = text.partition("://")
        if separator and _SCHEME.fullmatch(f"{scheme.strip()}:") and scheme.strip().lower() not in ("file", "ipc"):
            return _parse_url(text, scheme.strip(), rest)
        shown = redact(text)
        scheme_of_path = _scheme(text)
        odd = "@" in text and ("//" in text or scheme_of_path in _WITHOUT_AT)
        plain = scheme_of_path in _PREFIXES and not odd
        if not plain and not os.path.exists(text):  # noqa: PTH110 - never raises
            # Perhaps a URL without scheme or slashes, or an FFmpeg filter that opens one.
            path, mark, query = _without_userinfo(shown).partition("?")
            shown = f"{path}{mark}{mask_query(query)}"
        return cls(text, valid_text(shown), _pieces(text) if shown != text else ())

    def without_secrets(self, text: str) -> str:
        """Return a message by FFmpeg or the operating system about this source, without the source's secrets."""
        text = text.replace(self.text, self.shown)
        for secret in self.secrets:
            if len(secret) >= _MIN_SECRET:
                text = text.replace(secret, "***")
        return redact(text)

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"SourceAddress({self.shown!r})"


def shown_address(address: str) -> str:
    """Return an address in a form safe to log, publish or show. Never raises."""
    return SourceAddress.of(address).shown


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Properties of a source that are known without opening it.

    Attributes:
        kind: As in :class:`streamseg.sources.base.SourceInfo`.
        live: It goes on whether it is read or not: its ring keeps the newest frame. Otherwise every frame counts, at
            any reading pace. None: only known once it is open, since a server's address may be a camera or a file
            (:attr:`streamseg.sources.base.SourceInfo.live`).
    """

    kind: Kind
    live: bool | None


def describe(address: str) -> SourceDescription:
    """Return the kind of source that an address names, without opening it.

    A missing camera (no ``/dev/video0`` or ``/dev/v4l/by-id/NAME``, a host that is down) is no error: it may appear.

    Raises:
        ConfigError: the address has an unknown kind, is incomplete, or names a file or folder that does not exist.
    """
    kind, target = classify(address)
    if kind == "scene":
        return SourceDescription("scene", SceneSpec.parse(target).live)
    return SourceDescription(kind, None if kind in ("http", "hls") else kind not in ("file", "images", "lavfi"))


def local_path(address: str) -> Path | None:
    """Return the file or folder that an address names, whether it exists or not; None for any other source."""
    scheme = _scheme(address)
    if scheme == "file":
        rest = address.partition(":")[2]
        # file:///a/b and file://localhost/a/b are URLs, file:a/b is a path with a prefix.
        return Path(unquote(f"/{rest[2:].partition('/')[2]}")) if rest.startswith("//") else Path(rest)
    if _DEVICE.fullmatch(address) or (scheme is not None and not os.path.exists(address)):  # noqa: PTH110 - never raises
        return None
    return Path(address)


def classify(address: str) -> tuple[Kind, str]:
    """Return the kind of an address, and the address in the form that the kind's class takes.

    Raises:
        ConfigError: as :func:`describe`.
    """
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
        if not (rest.isascii() and rest.isdigit() and len(rest) <= _MAX_WEBCAM_DIGITS):
            raise ConfigError(f"{_short(address)} is not a webcam: write webcam:NUMBER, for example webcam:0")
        return "v4l2", f"/dev/video{int(rest)}"
    if scheme == "lavfi":
        if not rest:
            raise ConfigError("'lavfi:' has no filter: write for example lavfi:testsrc2=size=640x360:rate=30")
        return "lavfi", rest
    if scheme == "scene":
        return "scene", address
    if scheme == "screen":
        if rest and not _DISPLAY.fullmatch(rest):
            raise ConfigError(
                f"{_short(address)} is not a screen: write screen: or, as X11 names displays, screen::0.0"
            )
        return "screen", rest
    known = (*_URL_KINDS, *_PREFIXES)
    # rstp:// is rtsp:// with two letters swapped, rather than rtp://.
    swapped = [
        name for name in _SUGGESTED if "://" in address and name in _URL_KINDS and sorted(name) == sorted(scheme)
    ]
    meant = "" if scheme in _OTHER_PROTOCOLS else nearest(scheme[:40], swapped or _SUGGESTED)
    raise ConfigError(
        f"{_short(address)}: unknown kind of source {scheme[:40]!r}{meant} (known: "
        f"{', '.join(f'{name}:' for name in known)}, /dev/videoN, and paths of files and folders)"
    )


def _parse_url(text: str, scheme: str, rest: str) -> SourceAddress:
    authority = _AUTHORITY.match(rest)
    assert authority is not None
    userinfo, at, host_and_port = authority[0].rpartition("@")
    tail = rest[authority.end() :]
    hidden = SourceAddress(text, f"{scheme}://***", _pieces(rest), None)
    fault = _fault_of(scheme, host_and_port, tail)
    if fault is not None:
        return SourceAddress(text, hidden.shown, hidden.secrets, fault)
    if "@" in tail and (at or ":" in host_and_port or not _AT_OF_PATH.fullmatch(tail)):
        # The path may hold an @ (rtsp://cam/profile@2x), but so may a password with an unencoded slash:
        # rtsp://user:12/34@host.
        return hidden
    user, colon, password = userinfo.partition(":")
    shown_user = "" if not at else f"{user}:***@" if colon else "***@" if userinfo else "@"
    secrets = [password if colon else userinfo] if at else []
    # A fragment is never sent to a server, so this must be a password or token that was not percent-encoded.
    tail, hash_sign, fragment = tail.partition("#")
    path, mark, query = tail.partition("?")
    shown_path = _PATH_SECRET.sub(r"\1***", _PATH_ASSIGNMENT.sub(lambda match: mask_query(match[0]), path))
    shown_path = _PATH_SEGMENT.sub(lambda match: _masked_token(match[0]), shown_path)
    shown_query = mask_query(query)
    for plain, masked in ((path, shown_path), (query, shown_query)):
        if plain != masked:
            hidden_values = [value.partition("=")[2] or value for value in re.split("[&/]", plain)]
            secrets += [piece for value in hidden_values if value not in masked for piece in _pieces(value)]
    shown_fragment = f"#{'***' if fragment else ''}" if hash_sign else ""
    secrets += _pieces(fragment)
    if scheme.lower().startswith("rtmp") and (key := _STREAM_KEY.fullmatch(shown_path)):
        shown_path = f"{key[1]}***{key[3]}"
        secrets += [key[2]] if key[1] != "/" else []  # a lone application name such as `live` is in other words, too
    shown = redact(f"{scheme}://{shown_user}{host_and_port}{shown_path}{mark}{shown_query}{shown_fragment}")
    decoded = tuple(form for secret in secrets if secret for form in _with_decoded(secret))
    return SourceAddress(text, valid_text(shown), decoded)


def _masked_token(segment: str) -> str:
    """Return a path segment, or ``***`` if it looks like a token: long, with mixed letters and digits."""
    if len(segment) < _MIN_TOKEN or "***" in segment:
        return segment
    words = all(_WORD.fullmatch(part) for part in re.split(r"[\W_]", segment, flags=re.ASCII))
    return segment if words else "***"


def _fault_of(scheme: str, host_and_port: str, tail: str) -> str | None:
    """Return what is wrong with the host part of a URL, without quoting it."""
    encode = (
        "if the password holds any of # / ? @ : %, percent-encode them (# is %23, / is %2F, ? is %3F), or write "
        f"{scheme}://USER:${{CAM_PASSWORD}}@HOST/PATH and set that variable, which is encoded for you"
    )
    if any(character.isspace() for character in host_and_port + tail):
        return f"the {scheme}:// address contains white space: percent-encode it as %20"
    if scheme.lower() in _RECEIVING and host_and_port.startswith(":"):
        host_and_port = f"0.0.0.0{host_and_port}"
    if not host_and_port or host_and_port.startswith(":"):
        return f"the {scheme}:// address has no host: write {scheme}://HOST/PATH; {encode}"
    match = _HOST_AND_PORT.fullmatch(host_and_port)
    if match is None or (match[3] and len(match[3]) > 1 and int(match[3][1:]) > _MAX_PORT):
        return f"the {scheme}:// address is not valid: its host or its port (0 to {_MAX_PORT}) cannot be read; {encode}"
    if "@" in tail.partition("#")[2]:
        return f"the {scheme}:// address is not valid: it holds a # before its last @; {encode}"
    return None


def _with_decoded(secret: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(form for form in (secret, unquote(secret)) if form))


def _pieces(text: str) -> tuple[str, ...]:
    """Return all possible secrets of a text that cannot be parsed, longest first."""
    pieces = {form for piece in re.split(r"[^\w%.~-]|_", text) for form in _with_decoded(piece)}
    return (text, *sorted(pieces, key=len, reverse=True))


def _without_userinfo(text: str) -> str:
    """Return a text without everything between its first colon and last ``@``, since it may be an address."""
    if "@" not in text or ":" not in text or "***@" in text:
        return text
    return f"{text.partition(':')[0]}:***@{text.rpartition('@')[2]}"


def _classify_url(address: str, scheme: str) -> tuple[Kind, str]:
    if "://" not in address:
        raise ConfigError(f"the {scheme} address has no //: write {scheme}://HOST/PATH")
    fault = SourceAddress.of(address).fault
    if fault is not None:
        raise ConfigError(fault)
    # FFmpeg accepts only lower-case protocols.
    url = scheme + address[len(scheme) :]
    path = re.split("[?#]", url, maxsplit=1)[0].lower()
    kind = _URL_KINDS[scheme]
    return ("hls" if kind == "http" and path.endswith((".m3u8", ".m3u")) else kind), url


def _classify_path(address: str, path: Path) -> tuple[Kind, str]:
    if _LIKE_DEVICE.fullmatch(address):
        raise ConfigError(f"{_short(address)} is not a webcam: write webcam:NUMBER, for example webcam:0")
    if address in ("", "file:"):
        raise ConfigError("the address of a source is empty: write for example scene:default, or the path of a video")
    try:
        path = path.expanduser()
        if path.is_dir():
            list_images(path)
            return "images", str(path)
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            return "images", str(path)  # not FFmpeg: it would decode an image of any size to detect its type
        if path.suffix.lower() == ".sdp" and path.is_file():
            return "sdp", str(path)
        if path.exists():
            if _DEVICE.fullmatch(str(path.resolve())):
                return "v4l2", str(path)  # a link to it, made by a udev rule
            _refuse_special(address, path)
            return "file", str(path)
        if "**" in path.parts:
            raise ConfigError(f"{_short(address)}: ** is not supported: write a * for each level of folders")
        if (_PATTERN.search(path.name) and path.parent.is_dir()) or _WILDCARD.search(str(path.parent)):
            list_images(path)
            return "images", str(path)
        folder = next(parent for parent in path.parents if parent.is_dir())
        missing = path.relative_to(folder).parts[0]
        similar = difflib.get_close_matches(missing, sorted(entry.name for entry in folder.iterdir()), n=1)
        if path.is_symlink():
            raise ConfigError(f"{_short(address)} is a link to {_short(os.readlink(path))}, which does not exist")  # noqa: PTH115
    except SourceOpenError as error:
        raise ConfigError(redact(str(error))) from None
    except (OSError, ValueError, RuntimeError) as error:
        # No permission, a name that is too long, a NUL in it, an unknown ~user.
        raise ConfigError(f"{_short(address)} cannot be a file or folder: {_short_reason(error)}") from None
    name = path.name  # paths from settings are absolute by now
    if name == "webcam" or (name.isascii() and name.isdigit()):
        number = name[:_MAX_WEBCAM_DIGITS] if name != "webcam" else 0
        raise ConfigError(f"there is no file {_short(address)}: for a webcam write webcam:{number}")
    fix = (
        f"did you mean {str(folder / similar[0])!r}?"
        if similar
        else f"{str(folder.resolve())!r} holds nothing with a similar name"
    )
    raise ConfigError(f"there is no file or folder {_short(address)}: {fix}")


def _refuse_special(address: str, path: Path) -> None:
    """Refuse a device, a socket or a virtual file of the kernel. A FIFO is fine."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) and path.resolve().is_relative_to("/proc"):
        what = "a file of the kernel"
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        what = "a device"
    elif stat.S_ISSOCK(mode):
        what = "a socket"
    else:
        return
    raise ConfigError(
        f"{_short(address)} is {what}, not a video: write the path of a video, webcam:0 or /dev/video0 for a webcam, "
        "or - for standard input"
    )


def _short(address: str, length: int = 200) -> str:
    shown = shown_address(address)
    return repr(shown if len(shown) <= length else f"{shown[:length]}...")


def _short_reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _scheme(address: str) -> str | None:
    """Return the lower-case scheme of an address; None for a path. A single letter is not a scheme."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else None


def standard_input() -> str:
    """Return the path of this process's standard input, which its child processes can open too."""
    return f"/proc/{os.getpid()}/fd/0"
