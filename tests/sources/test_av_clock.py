import struct
import time

import av

from streamseg.sources.av_clock import PacketClock


def test_the_arrival_counts_without_a_camera_report() -> None:
    before_wall, before = time.time_ns(), time.monotonic_ns()
    stamp = PacketClock().stamp(av.Packet(b"data"))
    assert stamp.t_source == "arrival"
    assert before_wall <= stamp.t_wall_ns <= time.time_ns()
    assert before <= stamp.t_captured_ns <= time.monotonic_ns()


class ReportedPacket:
    """A packet with a camera's time: PyAV can read such side data, but not make it."""

    def __init__(self, t_wall_ns: int) -> None:
        self._data = struct.pack("=qi4x", t_wall_ns // 1000, 0)

    def has_sidedata(self, kind: str) -> bool:
        return kind == "prft"

    def get_sidedata(self, kind: str) -> bytes:
        return self._data


def test_the_camera_s_time_counts_from_the_second_report_on() -> None:
    clock = PacketClock()
    camera_ns = (time.time_ns() - 5 * 10**9) // 1000 * 1000
    assert clock.stamp(ReportedPacket(camera_ns)).t_source == "arrival"
    stamp = clock.stamp(ReportedPacket(camera_ns))
    assert (stamp.t_source, stamp.t_wall_ns) == ("rtcp", camera_ns)


def test_a_camera_clock_that_was_never_set_is_ignored() -> None:
    clock = PacketClock()
    clock.stamp(ReportedPacket(0))
    stamp = clock.stamp(ReportedPacket(1000 * 10**9))
    assert stamp.t_source == "arrival"
    assert abs(stamp.t_wall_ns - time.time_ns()) < 3600 * 10**9
