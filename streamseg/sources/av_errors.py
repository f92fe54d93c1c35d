"""Translate FFmpeg's errors: plain words, without the password that FFmpeg's own text contains."""

from __future__ import annotations

from typing import Final

import av.error

from streamseg.common.redact import redact
from streamseg.errors import SourceAuthError, SourceNotFoundError, SourceOpenError
from streamseg.sources.address import SourceAddress
from streamseg.sources.av_options import AvKind

_SERVERS: Final = frozenset({"rtsp", "rtmp", "http", "hls"})


def open_error(
    error: Exception, address: SourceAddress, kind: AvKind, *, elapsed_s: float, timeout_s: float
) -> SourceOpenError:
    """Return the error to raise for an error of ``av.open``.

    Args:
        error: FFmpeg's error.
        address: Address of the source.
        kind: Kind of the source.
        elapsed_s: How long opening took until it failed.
        timeout_s: The timeout that FFmpeg was given. If a server accepts and never answers, FFmpeg reports "invalid
            data" at that time; only the clock tells this from data that is really invalid.
    """
    shown = address.shown
    timed_out = isinstance(error, (av.error.ExitError, TimeoutError)) or elapsed_s >= 0.95 * timeout_s
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
        case PermissionError():
            fix = "add this user to the group video" if kind == "v4l2" else "check its permissions"
            return SourceOpenError(f"{shown}: permission denied: {fix}")
        case _ if timed_out:
            return SourceOpenError(
                f"{shown}: no answer within {timeout_s:.3g} s: check host, port and firewall, or raise open_timeout_s"
            )
        case av.error.InvalidDataError() if kind not in _SERVERS:
            return SourceOpenError(f"{shown}: this is not a video that FFmpeg can read")
        case _ if kind in _SERVERS:
            why = address.without_secrets(reason(error))
            return SourceOpenError(f"{shown}: cannot be opened ({why}): check host name, port and path")
        case _:
            why = address.without_secrets(reason(error))
            return SourceOpenError(f"{shown}: cannot be opened ({why}): check the address")


def reason(error: Exception) -> str:
    """Return FFmpeg's description of an error, without the address that ``str(error)`` contains."""
    text = error.strerror if isinstance(error, (av.error.FFmpegError, OSError)) else str(error)
    return redact(str(text or type(error).__name__))
