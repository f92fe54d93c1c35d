"""RTSP against GStreamer's server, which behaves like a real camera."""

import time
from collections.abc import Callable

import psutil
import pytest

from streamseg.config.schema import StreamConfig
from streamseg.errors import SourceAuthError, SourceDisconnectedError, SourceNotFoundError, SourceStalledError
from streamseg.frame import SourceFrame
from streamseg.sources.av_options import Transport
from streamseg.sources.av_source import AvSource
from streamseg.sources.probe import probe
from tests.servers.live_servers import GstRtspServer

pytestmark = pytest.mark.gstreamer
StartServer = Callable[..., GstRtspServer]


def read_until(source: AvSource, found: Callable[[SourceFrame], bool], seconds: float = 30) -> SourceFrame:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = source.read()
        if found(frame):
            return frame
    raise AssertionError(f"not found within {seconds} s")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_stamps_are_the_cameras_after_its_report(gst_server: StartServer, transport: Transport) -> None:
    server = gst_server()
    source = AvSource(server.url(), "rtsp", transport=transport)
    info = source.open()
    assert (info.width, info.height, info.frame_rate, info.codec) == (320, 240, 25.0, "h264")
    assert source.read().stamps.t_source == "arrival"
    first = read_until(source, lambda frame: frame.stamps.t_source == "rtcp").stamps
    last = first
    for _ in range(25):
        stamps = source.read().stamps
        assert stamps.t_source == "rtcp"
        assert stamps.t_wall_ns > last.t_wall_ns
        last = stamps
    source.close()
    # The server is on this machine: its clock is ours, and its stamps are as far apart as its frames.
    arrived_ns = time.time_ns() - (time.monotonic_ns() - last.t_captured_ns)
    assert 0 <= arrived_ns - last.t_wall_ns < 2 * 10**9
    assert last.pts is not None
    assert first.pts is not None
    assert last.t_wall_ns - first.t_wall_ns == pytest.approx((last.pts - first.pts) * 1e9 / 90_000, abs=5e6)


@pytest.mark.parametrize("credentials", ["", "viewer:wr0ng@"])
def test_wrong_credentials_are_refused(gst_server: StartServer, credentials: str) -> None:
    server = gst_server(user="viewer", password="s3cret")
    with pytest.raises(SourceAuthError, match="user name and password") as caught:
        AvSource(server.url(credentials), "rtsp").open()
    assert "wr0ng" not in str(caught.value)


def test_a_wrong_path_is_not_found_with_right_credentials(gst_server: StartServer) -> None:
    server = gst_server(user="viewer", password="s3c:r@t")
    source = AvSource(server.url("viewer:s3c:r@t@"), "rtsp")
    source.open()
    source.read()
    source.close()
    with pytest.raises(SourceNotFoundError, match="does not have this stream") as caught:
        AvSource(server.url("viewer:s3c:r@t@", path="/nope"), "rtsp").open()
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_killed_server_ends_the_source_which_opens_again(gst_server: StartServer, transport: Transport) -> None:
    server = gst_server()
    source = AvSource(server.url(), "rtsp", transport=transport)
    source.open()
    source.read()
    server.kill()
    with pytest.raises(SourceDisconnectedError):
        read_until(source, lambda _frame: False)
    source.close()
    gst_server(port=server.port)
    assert source.open().width == 320
    source.read()
    source.close()


# FFmpeg holds a packet of H.264 back and none of MJPEG, and notices the silence by different ways.
@pytest.mark.parametrize(("transport", "codec"), [("tcp", "h264"), ("udp", "h264"), ("tcp", "mjpeg")])
def test_a_frozen_server_is_a_stall(gst_server: StartServer, transport: Transport, codec: str) -> None:
    server = gst_server(codec=codec)
    source = AvSource(server.url(), "rtsp", transport=transport, stall_timeout_s=2.0)
    source.open()
    source.read()
    server.freeze()
    frozen = time.monotonic()
    with pytest.raises(SourceStalledError):
        read_until(source, lambda _frame: False)
    assert time.monotonic() - frozen >= 1.4, "too early"
    source.close()
    server.thaw()
    assert source.open().width == 320, "after the hang the same source can be opened again"
    source.close()


def test_sound_beside_the_pictures_is_left_alone(gst_server: StartServer) -> None:
    source = AvSource(gst_server(audio=True).url(), "rtsp")
    source.open()
    frames = [source.read() for _ in range(20)]
    source.close()
    assert {frame.format.width for frame in frames} == {320}


def test_nothing_is_left_after_many_connections(gst_server: StartServer) -> None:
    server = gst_server()
    process = psutil.Process()

    def connect() -> None:
        source = AvSource(server.url(), "rtsp")
        source.open()
        source.read()
        source.close()

    connect()
    before = process.num_fds(), process.num_threads()
    for _ in range(30):
        connect()
    assert (process.num_fds(), process.num_threads()) == before


def test_probe_reports_the_server_without_its_password(gst_server: StartServer) -> None:
    server = gst_server(user="viewer", password="s3cret")
    report = probe(StreamConfig(source=server.url("viewer:s3cret@")), seconds=1.0)
    assert "s3cret" not in report.address
    assert (report.kind, report.live, report.codec, report.rate_announced) == ("rtsp", True, "h264", 25.0)
    assert (report.format.width, report.format.height) == (320, 240)
    assert report.frames > 10
    assert report.rate_measured == pytest.approx(25, rel=0.3)
    assert report.first_frame_s >= report.open_s > 0
