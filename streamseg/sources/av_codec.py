"""Detects the codec of packets, since the codec of an open stream may change.

The demuxer detects a change (a new program map in MPEG-TS, a new segment in HLS) and continues, but PyAV keeps the
decoder that it made when the container was opened, and does not expose the demuxer's codec. That codec is not reliable
either: to detect a stream's type, FFmpeg reads up to 5 MB ahead, and reports the last codec for all those packets.

So a packet with the parameters that a decoder needs first is recognized by its start codes. Only slices of MPEG-2 look
like H.264 and HEVC: their codes are the rows of the picture, 0x01 to 0xAF, so their order identifies them. For other
codecs a bitstream filter decides, because it refuses all codecs but its own.
"""

from __future__ import annotations

import itertools
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
_START_CODE: Final = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_START: Final = (b"\x00\x00\x01", b"\x00\x00\x00\x01")
_FILTERS: Final = {"av1": "av1_metadata", "vvc": "vvc_mp4toannexb"}
_MAY_CHANGE: Final = frozenset({"mpegts", "hls"})


@dataclass(frozen=True, slots=True)
class CodecChange:
    """A packet with another codec than the previous one.

    Attributes:
        codec: Name of the new codec.
        offset: Bytes of the packet that still belong to the old one.
    """

    codec: str
    offset: int


class CodecWatch:
    """Watches the codec of one stream. Used by one thread.

    Args:
        container_format: FFmpeg's name for the container's format.
        stream: PyAV's stream.
        codec: Name of its codec when it was opened.
    """

    def __init__(self, container_format: str, stream: Any, codec: str) -> None:
        self._stream = stream
        self._codec = codec
        known = codec in _FILTERS or codec in _PARAMETERS.groupindex
        # Without start codes (MP4 in HLS) a length may look like one.
        has_lengths = codec in _PARAMETERS.groupindex and bytes(stream.codec_context.extradata or b"")[:1] == b"\x01"
        self._active = known and not has_lengths and not _MAY_CHANGE.isdisjoint(container_format.split(","))

    def change(self, packet: Any) -> CodecChange | None:
        """Return the packet's codec if it differs from the previous packet's; otherwise None."""
        if not self._active:
            return None
        found = self._find(bytes(packet))
        if found is None or found.codec == self._codec:
            return None
        self._codec = found.codec
        return found

    def _find(self, data: bytes) -> CodecChange | None:
        if self._codec != "av1" or data.startswith(_START):  # AV1 has no start codes, so its data may contain them
            for match in _PARAMETERS.finditer(data):
                assert match.lastgroup is not None
                if match.lastgroup not in ("h264", "hevc") or not _is_slice(data, match.start()):
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


def _is_slice(data: bytes, start: int) -> bool:
    """Return whether a start code belongs to an MPEG-2 slice, which continues the rows before or after it.

    In H.264 and HEVC no code before such parameters is lower by one, and no two after them count up: SEI and access
    unit delimiters would need a value (nal_ref_idc) that the standard forbids for them.
    """
    code = data[start + 3]
    before = data.rfind(_START[0], 0, start)
    if before >= 0 and data[before + 3] in (code - 1, code):
        return True
    after = [found[1][0] for found in itertools.islice(_START_CODE.finditer(data, start + 3), 2)]
    return after == [code + 1, code + 2]


def packet_from(packet: Any, offset: int) -> Any:
    """Return a packet without its first bytes."""
    if not offset:
        return packet
    rest = av.Packet(bytes(packet)[offset:])
    rest.pts, rest.dts, rest.duration, rest.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    rest.is_keyframe, rest.is_corrupt = packet.is_keyframe, packet.is_corrupt
    return rest
