"""Capture times of packets: from the camera's clock if RTCP reports it, or else from this machine's."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from streamseg.frame import StampSource

_PRODUCER_REFERENCE_TIME = struct.Struct("=q")  # first field of AVProducerReferenceTime: Unix time in microseconds
_PLAUSIBLE_NS: Final = 24 * 3600 * 10**9
"""A camera whose clock is off by more than a day was never set (most start in 1970): use our clock."""


@dataclass(frozen=True, slots=True)
class PacketStamp:
    """When a packet was captured, and when it arrived.

    Attributes:
        t_wall_ns: Unix epoch.
        t_source: Clock of ``t_wall_ns``.
        t_captured_ns: ``time.monotonic_ns()`` when the demuxer returned it. For codecs whose frames end where the
            next one begins (H.264, H.265), this is when the next frame's first packet arrived.
    """

    t_wall_ns: int
    t_source: StampSource
    t_captured_ns: int


class PacketClock:
    """Stamps the packets of one connection.

    FFmpeg's RTSP demuxer attaches the camera's time as side data (``prft``) to every packet after an RTCP sender
    report, computed from the latest report, so clock drift never accumulates.
    """

    def __init__(self) -> None:
        self._reported = False

    def stamp(self, packet: Any) -> PacketStamp:
        """Stamp a packet; call it as soon as the packet arrives."""
        t_captured_ns, now_ns = time.monotonic_ns(), time.time_ns()
        camera_ns = self._camera_time_ns(packet)
        if camera_ns is None or abs(camera_ns - now_ns) > _PLAUSIBLE_NS:
            return PacketStamp(now_ns, "arrival", t_captured_ns)
        return PacketStamp(camera_ns, "rtcp", t_captured_ns)

    def _camera_time_ns(self, packet: Any) -> int | None:
        if not packet.has_sidedata("prft"):
            return None
        if not self._reported:
            # The first one may belong to the next frame: FFmpeg's parser held a packet back when the report arrived.
            self._reported = True
            return None
        (microseconds,) = _PRODUCER_REFERENCE_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
        return int(microseconds) * 1000
