"""When a packet was captured: by the camera's clock where RTCP tells it, else by ours."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from streamseg.frame import StampSource

_PRODUCER_REFERENCE_TIME = struct.Struct("=q")  # first field of AVProducerReferenceTime: Unix time in microseconds
_PLAUSIBLE_NS: Final = 24 * 3600 * 10**9
"""A camera whose clock is off by more than a day was never set (most begin in 1970): our clock is better."""


@dataclass(frozen=True, slots=True)
class PacketStamp:
    """When a packet came to be and came to us.

    Attributes:
        t_wall_ns: Unix epoch.
        t_source: Clock of ``t_wall_ns``.
        t_captured_ns: ``time.monotonic_ns()`` when the demuxer handed it over. For codecs whose frames end where
            the next one begins (H.264, H.265) that is when the next frame's first packet arrived.
    """

    t_wall_ns: int
    t_source: StampSource
    t_captured_ns: int


class PacketClock:
    """Stamps the packets of one connection.

    FFmpeg's RTSP reader gives every packet that follows an RTCP sender report the camera's time as side data
    (``prft``), reckoned from the latest report, so that the camera's drift never adds up.
    """

    def __init__(self) -> None:
        self._reported = False

    def stamp(self, packet: Any) -> PacketStamp:
        """Stamp a packet; to be called as soon as it is there."""
        t_captured_ns, now_ns = time.monotonic_ns(), time.time_ns()
        camera_ns = self._camera_time_ns(packet)
        if camera_ns is None or abs(camera_ns - now_ns) > _PLAUSIBLE_NS:
            return PacketStamp(now_ns, "arrival", t_captured_ns)
        return PacketStamp(camera_ns, "rtcp", t_captured_ns)

    def _camera_time_ns(self, packet: Any) -> int | None:
        if not packet.has_sidedata("prft"):
            return None
        if not self._reported:
            # The first may be the next frame's: a frame that lay in FFmpeg's parser when the report came had none.
            self._reported = True
            return None
        (microseconds,) = _PRODUCER_REFERENCE_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
        return int(microseconds) * 1000
