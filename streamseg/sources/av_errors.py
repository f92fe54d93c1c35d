"""FFmpeg's errors as ours: what happened in words, and without the password that FFmpeg's own text holds."""

from __future__ import annotations

from typing import Final

import av.error

from streamseg.common.redact import redact
from streamseg.errors import SourceAuthError, SourceNotFoundError, SourceOpenError
from streamseg.sources.av_options import AvKind

_SERVERS: Final = frozenset({"rtsp", "rtmp", "http", "hls"})


def open_error(error: Exception, address: str, kind: AvKind, *, elapsed_s: float, timeout_s: float) -> SourceOpenError:
    """Return what to raise for an error of ``av.open``.

    Args:
        error: FFmpeg's.
        address: Of the source, with its credentials.
        kind: What it is.
        elapsed_s: How long opening took until it failed.
        timeout_s: The time-out that FFmpeg was given. A server that accepts and never answers ends in "invalid
            data" at that time, which is told from really invalid data by the clock alone.
    """
    shown = redact(address)
    timed_out = isinstance(error, (av.error.ExitError, TimeoutError)) or elapsed_s >= 0.95 * timeout_s
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return SourceAuthError(
                f"{shown}: the server refuses the credentials ({reason(error)}): check user name and password"
            )
        case av.error.HTTPNotFoundError():
            return SourceNotFoundError(f"{shown}: the server is there but does not have this stream: check the path")
        case FileNotFoundError():
            what = "device" if kind == "v4l2" else "file"
            return SourceNotFoundError(f"{shown}: there is no such {what}: check the path")
        case ConnectionRefusedError():
            return SourceOpenError(
                f"{shown}: connection refused: is the server running, and is the port the right one?"
            )
        case PermissionError():
            mend = "add this user to the group video" if kind == "v4l2" else "check its permissions"
            return SourceOpenError(f"{shown}: permission denied: {mend}")
        case _ if timed_out:
            return SourceOpenError(
                f"{shown}: no answer within {timeout_s:.3g} s: check host, port and firewall, or raise open_timeout_s"
            )
        case av.error.InvalidDataError() if kind not in _SERVERS:
            return SourceOpenError(f"{shown}: this is not a video that FFmpeg can read")
        case _ if kind in _SERVERS:
            return SourceOpenError(f"{shown}: cannot be opened ({reason(error)}): check host name, port and path")
        case _:
            return SourceOpenError(f"{shown}: cannot be opened ({reason(error)}): check the address")


def reason(error: Exception) -> str:
    """FFmpeg's words for an error, without the address that ``str(error)`` holds."""
    text = error.strerror if isinstance(error, (av.error.FFmpegError, OSError)) else str(error)
    return redact(str(text or type(error).__name__))
