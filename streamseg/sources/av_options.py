"""Arguments with which FFmpeg opens each kind of source: address, format and options.

FFmpeg silently ignores unknown options, so every name here was looked up in its source code and tested.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Final, Literal

Transport = Literal["tcp", "udp"]
Decoder = Literal["software", "cuda"]
AvKind = Literal[
    "rtsp", "rtmp", "http", "hls", "udp", "rtp", "srt", "sdp", "snapshot", "screen", "v4l2", "file", "lavfi"
]

LISTEN_SCHEMES: Final = {"rtsp+listen://": "rtsp://", "rtmp+listen://": "rtmp://"}
"""Schemes that wait for a publisher to connect, instead of connecting to a server."""

_ONE_ADDRESS: Final = ",".join((
    *("mpjpeg", "mjpeg", "mpegts", "mov", "matroska", "flv", "live_flv", "avi", "mpeg", "mpegvideo", "m4v", "h264"),
    *("hevc", "av1", "obu", "ivf", "ogg", "asf", "nut", "mxf", "gif", "apng"),
    *("jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "jpegxl_pipe"),
))  # fmt: skip
"""Demuxers that only read the given address. Others open addresses that a server sends: ``hls``, ``dash``, ``sdp``,
``concat``, ``imf``, ``rtsp``."""


@dataclass(frozen=True, slots=True)
class OpenArguments:
    """Arguments of ``av.open``.

    Attributes:
        url: The address in FFmpeg's form.
        format: Name of the demuxer; None if FFmpeg detects it.
        options: Options of the demuxer and its protocol.
    """

    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def open_arguments(
    address: str, kind: AvKind, *, transport: Transport, open_timeout_s: float, follow_redirects: bool = True
) -> OpenArguments:
    """Return the arguments to open ``address`` with the least delay.

    Args:
        address: Address of the source; a lavfi graph or device without prefix.
        kind: Kind of the source.
        transport: RTSP only.
        open_timeout_s: How long a listening source waits for its publisher.
        follow_redirects: http and https: follow the server to another address, by a redirect or a playlist.
    """
    url, listen = _listening(address)
    match kind:
        case "rtsp":
            # One packet is enough; the decoder detects the rest. By default FFmpeg first collects a second of pictures,
            # which then arrive late and all at once. Video only: sound would reset the stall clock.
            options = {"probesize": "32", "allowed_media_types": "video", "rtsp_transport": transport}
            if listen:
                # FFmpeg passes listen_timeout to another option, for which its default of -1 s is out of range.
                options |= {"rtsp_flags": "listen", "listen_timeout": str(math.ceil(open_timeout_s))}
            return OpenArguments(url, options=options)
        case "rtmp":
            # FLV may announce sound that never arrives; by default FFmpeg waits for it for up to 90 s of video.
            options = {"rtmp_live": "live", "analyzeduration": "500000", "fpsprobesize": "0"}
            return OpenArguments(url, options=options | ({"listen": "1"} if listen else {}))
        case "http" | "hls":
            # Keep-alive: FFmpeg reuses a connection unless the response says that it will close. Some servers close it
            # as requested without saying so, and the video would end at its first seek.
            options = {"analyzeduration": "1000000", "fpsprobesize": "0", "multiple_requests": "1"}
            if not follow_redirects:
                options |= {"max_redirects": "0", "format_whitelist": _ONE_ADDRESS}
            return OpenArguments(url, options=options)
        case "udp" | "rtp" | "srt":
            # A full buffer drops packets, and the stream goes on.
            options = {"analyzeduration": "1000000", "fpsprobesize": "0", "overrun_nonfatal": "1"}
            return OpenArguments(url, options=options)
        case "sdp":
            options = {"protocol_whitelist": "file,crypto,data,udp,rtp,srtp,tcp", "analyzeduration": "1000000"}
            return OpenArguments(url, format="sdp", options=options)
        case "snapshot":
            # With `loop` FFmpeg requests the same address for each picture.
            options = {"loop": "1", "pattern_type": "none", "fpsprobesize": "0", "analyzeduration": "0"}
            return OpenArguments(url.removeprefix("snapshot+"), format="image2", options=options)
        case "screen":
            return OpenArguments(url or os.environ.get("DISPLAY", ":0"), format="x11grab", options={"framerate": "30"})
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
