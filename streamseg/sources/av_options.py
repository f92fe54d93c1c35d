"""How each kind of source is opened by FFmpeg: address, format and options.

FFmpeg takes unknown options without a word, so every name here was looked up in the library and seen to work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

Transport = Literal["tcp", "udp"]
Decoder = Literal["software", "cuda"]
AvKind = Literal["rtsp", "rtmp", "http", "hls", "v4l2", "file", "lavfi"]

LISTEN_SCHEMES: Final = {"rtsp+listen://": "rtsp://", "rtmp+listen://": "rtmp://"}
"""Addresses that wait for a publisher to connect to us, rather than connecting to a server."""


@dataclass(frozen=True, slots=True)
class OpenArguments:
    """What ``av.open`` is called with.

    Attributes:
        url: As FFmpeg wants it.
        format: Name of the demuxer; None where FFmpeg finds out by itself.
        options: For the demuxer and its protocol.
    """

    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def open_arguments(address: str, kind: AvKind, *, transport: Transport, open_timeout_s: float) -> OpenArguments:
    """Return how to open ``address`` with the least delay.

    Args:
        address: Of the source; a lavfi graph and a device come without prefix.
        kind: What it is.
        transport: RTSP only.
        open_timeout_s: How long a listening source waits for its publisher.
    """
    url, listen = _listening(address)
    match kind:
        case "rtsp":
            # One packet is enough: what it lacks the decoder finds out. By default FFmpeg collects a second of
            # pictures first, which then arrive late and all at once. Video only: sound would restart the stall clock.
            options = {"probesize": "32", "allowed_media_types": "video", "rtsp_transport": transport}
            if listen:
                # Without listen_timeout its default (-1 s) is out of range of the option that it is passed on to.
                options |= {"rtsp_flags": "listen", "listen_timeout": str(math.ceil(open_timeout_s))}
            return OpenArguments(url, options=options)
        case "rtmp":
            # FLV announces sound that may never come; by default FFmpeg waits for it up to 90 s of video.
            options = {"rtmp_live": "live", "analyzeduration": "500000", "fpsprobesize": "0"}
            return OpenArguments(url, options=options | ({"listen": "1"} if listen else {}))
        case "http" | "hls":
            return OpenArguments(url, options={"analyzeduration": "1000000", "fpsprobesize": "0"})
        case "v4l2":
            return OpenArguments(url, format="v4l2")
        case "lavfi":
            return OpenArguments(url, format="lavfi")
        case "file":
            return OpenArguments(url)


def _listening(address: str) -> tuple[str, bool]:
    for scheme, plain in LISTEN_SCHEMES.items():
        if address.startswith(scheme):
            return plain + address.removeprefix(scheme), True
    return address, False
