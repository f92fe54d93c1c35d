"""Translates FFmpeg's errors into plain words, without the password that FFmpeg's text contains."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import av.error

from streamseg.common.redact import redact
from streamseg.errors import ConfigError, SourceAuthError, SourceNotFoundError, SourceOpenError
from streamseg.sources.address import SourceAddress
from streamseg.sources.av_options import AvKind

_HALF: Final = ", half of open_timeout_s"
"""FFmpeg opens in two steps, connecting and detecting the streams, and each may take half of the time."""

_MAX_BOXES: Final = 1000
_HEAD_BYTES: Final = 1000
_SERVERS: Final = frozenset({"rtsp", "rtmp", "http", "hls", "udp", "rtp", "srt", "snapshot"})


def open_error(
    error: Exception, address: SourceAddress, kind: AvKind, *, elapsed_s: float, timeout_s: float
) -> SourceOpenError:
    """Return the error to raise for an error of ``av.open``.

    Args:
        error: FFmpeg's error.
        address: Address of the source.
        kind: Kind of the source.
        elapsed_s: How long opening took until it failed.
        timeout_s: The timeout given to FFmpeg. If a server accepts and never answers, FFmpeg reports "invalid data" at
            that time; only the clock distinguishes this from data that is really invalid.
    """
    shown = address.shown
    slow = elapsed_s >= 0.95 * timeout_s and kind in _SERVERS  # on a busy machine everything is slow
    timed_out = slow or isinstance(error, (av.error.ExitError, TimeoutError))
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return SourceAuthError(
                f"{shown}: the server rejects the credentials ({reason(error)}): check user name and password"
            )
        case av.error.HTTPNotFoundError():
            return SourceNotFoundError(f"{shown}: the server does not have this stream: check the path")
        case FileNotFoundError():
            what = "device" if kind == "v4l2" else "file"
            return SourceNotFoundError(f"{shown}: there is no such {what}: check the path")
        case ConnectionRefusedError():
            return SourceOpenError(f"{shown}: connection refused: check that the server is running, and the port")
        case PermissionError() | av.error.InvalidDataError() if kind == "file" and _is_playlist(address.text):
            return SourceOpenError(
                f"{shown}: FFmpeg refuses what this playlist refers to: a playlist in a file may only name media "
                "files, by relative paths: give the http:// address of the playlist, or the address of the video itself"
            )
        case PermissionError():
            fix = "add this user to the group video" if kind == "v4l2" else "check its permissions"
            return SourceOpenError(f"{shown}: permission denied: {fix}")
        case _ if timed_out and kind not in _SERVERS:
            return SourceOpenError(f"{shown}: opening it took more than {timeout_s:.3g} s{_HALF}: raise open_timeout_s")
        case _ if kind == "screen":
            return SourceOpenError(
                f"{shown}: the screen cannot be read ({reason(error)}): set DISPLAY, or name a display of X11, for "
                "example screen::0.0"
            )
        case _ if timed_out:
            return SourceOpenError(
                f"{shown}: no answer within {timeout_s:.3g} s{_HALF}: check host, port and firewall, or raise "
                "open_timeout_s"
            )
        case av.error.InvalidDataError() | av.error.EOFError() if kind not in _SERVERS:
            return SourceOpenError(f"{shown}: {_why_invalid(address.text)}")
        case av.error.InvalidDataError() if kind == "snapshot":
            return SourceOpenError(
                f"{shown}: the server sent no picture, or one without a Content-Length, which FFmpeg needs: check the "
                "address in a browser"
            )
        case av.error.ProtocolNotFoundError() | av.error.DemuxerNotFoundError():
            raise ConfigError(  # trying again would not help
                f"{shown}: the FFmpeg that PyAV brings does not support {kind}: use another protocol, or install a "
                "PyAV that was built with an FFmpeg that does"
            )
        case av.error.InvalidDataError() if kind in ("http", "hls"):
            return SourceOpenError(
                f"{shown}: the server answers, but with nothing that FFmpeg can read as video (a page, text, or an MP4 "
                "without its index): check the path in a browser"
            )
        case _ if kind in _SERVERS and (host := _unknown_host(address)) is not None:
            # If the password is not encoded, the apparent host may be a part of it.
            name = f"the host name {host!r}" if host.lower() in shown.lower() else "its host name"
            password = ", and percent-encode the password" if "@" in address.text.partition("://")[2] else ""
            fix = f"check the host name and the DNS{password}"
            return SourceOpenError(f"{shown}: cannot be opened: {name} is unknown: {fix}")
        case _ if kind in _SERVERS:
            why = address.without_secrets(reason(error))
            return SourceOpenError(f"{shown}: cannot be opened ({why}): check host name, port and path")
        case _:
            why = address.without_secrets(reason(error))
            return SourceOpenError(f"{shown}: cannot be opened ({why}): check the address")


def _unknown_host(address: SourceAddress) -> str | None:
    """Return the host of an address if it cannot be resolved, for which FFmpeg only says "Input/output error"."""
    try:
        host = urlsplit(address.text).hostname
        if host:
            socket.getaddrinfo(host, None)
    except socket.gaierror:
        return host
    except (OSError, ValueError):
        return None
    return None


def _why_invalid(path: str) -> str:
    """Return why FFmpeg calls a file invalid, judged by its first bytes."""
    try:
        with Path(path).open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return "the file is empty"
            if _lacks_index(file):
                return (
                    "the video is incomplete: its index (moov) is missing, because the recording was interrupted or is "
                    "still being written: wait for its end, or repair the file"
                )
    except (OSError, ValueError):
        pass
    return "this is not a video that FFmpeg can read"


def _is_playlist(path: str) -> bool:
    """Whether FFmpeg would read a file as a list of other addresses (HLS, DASH, concat)."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return False
    return head.lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat")) or b"<MPD" in head


def _lacks_index(file: BinaryIO) -> bool:
    """Whether a file is an MP4 or QuickTime without ``moov``: FFmpeg cannot find its pictures."""
    size, position, kinds = file.seek(0, os.SEEK_END), 0, set[bytes]()
    while position + 8 <= size and len(kinds) < _MAX_BOXES:
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        kinds.add(kind)
        if length < 8:  # 0: up to the end of the file
            break
        position += length
    return bool(kinds & {b"ftyp", b"mdat"}) and b"moov" not in kinds


def reason(error: Exception) -> str:
    """Return FFmpeg's description of an error, without the address that ``str(error)`` contains."""
    text = error.strerror if isinstance(error, (av.error.FFmpegError, OSError)) else str(error)
    return redact(str(text or type(error).__name__))
