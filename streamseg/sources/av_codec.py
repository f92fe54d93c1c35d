"""Find out that the codec of an open stream has changed.

The demuxer notices it (a new program map in MPEG-TS, a new segment in HLS) and goes on, but PyAV keeps the decoder that
it made when the container was opened, and does not show the demuxer's codec. A bitstream filter does: it refuses a
stream that is not of its own codec.
"""

from __future__ import annotations

from typing import Any, Final

import av.error
from av.bitstream import BitStreamFilterContext

_FILTERS: Final = {
    "h264": "h264_mp4toannexb",
    "hevc": "hevc_mp4toannexb",
    "mpeg2video": "mpeg2_metadata",
    "mpeg4": "mpeg4_unpack_bframes",
    "av1": "av1_metadata",
    "vvc": "vvc_mp4toannexb",
}
_MAY_CHANGE: Final = frozenset({"mpegts", "hls"})


class CodecWatch:
    """Watches the codec of one stream. Used by one thread.

    Args:
        container_format: FFmpeg's name of the container's format.
        stream: PyAV's stream.
        codec: Name of its codec when it was opened.
    """

    def __init__(self, container_format: str, stream: Any, codec: str) -> None:
        self._stream = stream
        self._codec = codec
        self._active = codec in _FILTERS and not _MAY_CHANGE.isdisjoint(container_format.split(","))

    def change(self) -> str | None:
        """Return the name of the new codec if it has changed since the last call; otherwise None."""
        if not self._active or self._is(self._codec):
            return None
        for codec in _FILTERS:
            if self._is(codec):
                self._codec = codec
                return codec
        return None

    def _is(self, codec: str) -> bool:
        try:
            BitStreamFilterContext(_FILTERS[codec], self._stream)
        except (av.error.FFmpegError, ValueError):  # ValueError: this FFmpeg was built without the filter
            return False
        return True
