"""Find out which codec a packet of an open stream is of, where that may change.

The demuxer notices a change (a new program map in MPEG-TS, a new segment in HLS) and goes on, but PyAV keeps the
decoder that it made when the container was opened, and does not show the demuxer's codec. Nor is that codec reliable:
to find out what a stream is, FFmpeg reads up to 5 MB ahead, and for the packets of that part it names the codec of its
end.

So a packet with the parameters that a decoder begins with is recognized by its start codes. They cannot occur within
the data of these codecs. For other codecs a bitstream filter tells: it refuses a stream that is not of its own codec.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import av
import av.error
from av.bitstream import BitStreamFilterContext

_PARAMETERS: Final = re.compile(
    rb"\x00\x00\x01(?:"
    rb"(?P<h264>[\x27\x47\x67][\x2c\x42\x4d\x53\x56\x58\x64\x6e\x76\x7a\x80\x8a\xf4])"  # SPS and its profile
    rb"|(?P<hevc>[\x40\x42]\x01)"  # VPS, SPS
    rb"|(?P<mpeg4>\xb0)"  # visual object sequence
    rb"|(?P<mpeg2video>\xb3(?!.{0,12}\x00\x00\x01\xb6))"  # sequence header; before a 0xb6: MPEG-4's group of pictures
    rb")",
    re.DOTALL,
)
_FILTERS: Final = {"av1": "av1_metadata", "vvc": "vvc_mp4toannexb"}
_MAY_CHANGE: Final = frozenset({"mpegts", "hls"})


@dataclass(frozen=True, slots=True)
class CodecChange:
    """A packet of another codec than the one before.

    Attributes:
        codec: Name of the new codec.
        offset: Bytes of the packet that still belong to the old one.
    """

    codec: str
    offset: int


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
        known = codec in _FILTERS or codec in _PARAMETERS.groupindex
        self._active = known and not _MAY_CHANGE.isdisjoint(container_format.split(","))

    def change(self, packet: Any) -> CodecChange | None:
        """Return which codec the packet is of, if it is not that of the packet before; otherwise None."""
        if not self._active:
            return None
        found = self._find(bytes(packet))
        if found is None or found.codec == self._codec:
            return None
        self._codec = found.codec
        return found

    def _find(self, data: bytes) -> CodecChange | None:
        match = _PARAMETERS.search(data)
        if match is not None:
            assert match.lastgroup is not None
            return CodecChange(match.lastgroup, match.start())
        for codec in _FILTERS:
            if self._is(codec):
                return CodecChange(codec, 0)
        return None

    def _is(self, codec: str) -> bool:
        try:
            BitStreamFilterContext(_FILTERS[codec], self._stream)
        except (av.error.FFmpegError, ValueError):  # ValueError: this FFmpeg was built without the filter
            return False
        return True


def packet_from(packet: Any, offset: int) -> Any:
    """Return a packet without its first bytes."""
    if not offset:
        return packet
    rest = av.Packet(bytes(packet)[offset:])
    rest.pts, rest.dts, rest.duration, rest.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    rest.is_keyframe, rest.is_corrupt = packet.is_keyframe, packet.is_corrupt
    return rest
