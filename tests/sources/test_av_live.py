"""Live sources against real servers that need no Debian package: publishers, HTTP-MJPEG, HLS."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamseg.errors import (
    EndOfStreamError,
    SourceAuthError,
    SourceDisconnectedError,
    SourceError,
    SourceNotFoundError,
    SourceOpenError,
    SourceStalledError,
)
from streamseg.frame import SourceFrame
from streamseg.sources.av_source import AvSource
from tests.servers.live_servers import MjpegServer, Publisher, free_port, jpeg, serve_folder, write_video

Publish = Callable[..., Publisher]


def listening(scheme: str, **settings: object) -> tuple[AvSource, str]:
    """Return a source that waits for a publisher, and the address to publish to."""
    rest = f"127.0.0.1:{free_port()}/live/cam"
    source = AvSource(f"{scheme}+listen://{rest}", scheme, open_timeout_s=40, **settings)  # type: ignore[arg-type]
    return source, f"{scheme}://{rest}"


def read_for(source: AvSource, seconds: float) -> list[SourceFrame]:
    deadline = time.monotonic() + seconds
    frames = [source.read()]
    while time.monotonic() < deadline:
        frames.append(source.read())
    return frames


def read_until(source: AvSource, error: type[SourceError]) -> list[SourceFrame]:
    """Return all frames until ``error``."""
    frames: list[SourceFrame] = []
    while len(frames) < 1000:
        try:
            frames.append(source.read())
        except error:
            return frames
    raise AssertionError(f"no {error.__name__} in 1000 frames")


@pytest.mark.parametrize(("scheme", "codec"), [("rtsp", "libx264"), ("rtsp", "mpeg4"), ("rtmp", "libx264")])
def test_a_publisher_may_leave_and_come_back(publisher: Publish, scheme: str, codec: str) -> None:
    source, url = listening(scheme)
    process = publisher(url, codec=codec)

    info = source.open()
    frames = read_for(source, 1.0)
    process.kill()
    with pytest.raises(SourceDisconnectedError):
        read_for(source, 30)
    source.close()

    assert (info.kind, info.live, info.width, info.height) == (scheme, True, 320, 240)
    assert len(frames) >= 10
    for before, after in itertools.pairwise(frames[1:]):
        assert after.stamps.t_captured_ns > before.stamps.t_captured_ns
        assert after.stamps.pts is not None
        assert before.stamps.pts is not None
        assert after.stamps.pts > before.stamps.pts
    for frame in frames:
        assert (frame.format.width, frame.format.height, frame.format.pixel_format) == (320, 240, "yuv420p")
        assert frame.stamps.t_captured_ns < frame.stamps.t_decoded_ns <= time.monotonic_ns()
        assert abs(frame.stamps.t_wall_ns - time.time_ns()) < 60 * 10**9
        assert frame.stamps.t_source in ("rtcp", "arrival")


def test_rtsp_stamps_are_the_publisher_s_once_it_reports_them(publisher: Publish) -> None:
    source, url = listening("rtsp")
    publisher(url)
    source.open()
    frames = read_for(source, 1.5)
    source.close()
    assert frames[0].stamps.t_source == "arrival"
    assert frames[-1].stamps.t_source == "rtcp"
    # The publisher is on this machine: its clock is ours.
    stamps = frames[-1].stamps
    arrived_ns = time.time_ns() - (time.monotonic_ns() - stamps.t_captured_ns)
    assert -1_000_000 <= arrived_ns - stamps.t_wall_ns < 5 * 10**9


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_a_frozen_publisher_is_a_stall(publisher: Publish, scheme: str) -> None:
    source, url = listening(scheme, stall_timeout_s=1.0)
    process = publisher(url)
    source.open()
    read_for(source, 0.3)
    process.freeze()
    frozen = time.monotonic()
    with pytest.raises(SourceStalledError, match="no video for 1 s"):
        read_for(source, 60)
    assert time.monotonic() - frozen >= 0.5, "too early"
    source.close()


def test_opening_times_out_without_a_publisher() -> None:
    source = AvSource(f"rtsp+listen://127.0.0.1:{free_port()}/cam", "rtsp", open_timeout_s=1.0)
    with pytest.raises(SourceOpenError, match="no answer"):
        source.open()


def test_mjpeg_is_read_until_it_stalls(mjpeg_server: MjpegServer) -> None:
    source = AvSource(mjpeg_server.url, "http", stall_timeout_s=1.0)
    mjpeg_server.put(*[(160, 120)] * 30)
    info = source.open()
    assert (info.kind, info.live, info.width, info.height, info.codec) == ("http", True, 160, 120, "mjpeg")
    frame = source.read()
    assert (frame.format.pixel_format, frame.format.full_range) == ("yuv420p", True)
    assert frame.stamps.t_source == "arrival"
    assert abs(int(frame.planes[0].mean()) - 90) <= 2
    with pytest.raises(SourceStalledError):
        read_for(source, 60)
    source.close()


def test_mjpeg_changes_its_size_and_ends(mjpeg_server: MjpegServer) -> None:
    source = AvSource(mjpeg_server.url, "http")
    mjpeg_server.put(*[(160, 120)] * 5, *[(320, 240)] * 5)
    mjpeg_server.parts.put(None)
    source.open()
    frames = read_until(source, SourceDisconnectedError)
    source.close()
    assert [(frame.format.width, frame.planes[0].shape[1]) for frame in frames] == [(160, 160)] * 5 + [(320, 320)] * 5


def test_damaged_pictures_of_mjpeg_are_counted(mjpeg_server: MjpegServer) -> None:
    source = AvSource(mjpeg_server.url, "http")
    mjpeg_server.put(*[(160, 120)] * 3)
    for _ in range(4):
        mjpeg_server.parts.put(jpeg(160, 120)[:2] + b"rubbish" * 50 + b"\xff\xd9")
    mjpeg_server.put(*[(160, 120)] * 3)
    mjpeg_server.parts.put(None)
    source.open()
    assert len(read_until(source, SourceDisconnectedError)) == 6
    assert source.corrupt == 4
    source.close()


@pytest.mark.parametrize(("path", "error"), [("/denied", SourceAuthError), ("/missing", SourceNotFoundError)])
def test_http_errors_are_reported_without_the_password(
    mjpeg_server: MjpegServer, path: str, error: type[SourceOpenError]
) -> None:
    url = mjpeg_server.url.replace("http://", "http://user:hunter2@").replace("/video", path)
    with pytest.raises(error) as caught:
        AvSource(url, "http").open()
    assert "hunter2" not in str(caught.value)


def hls(folder: Path, *, ends: bool) -> None:
    options = {"hls_time": "1", "hls_list_size": "0"}
    write_video(
        folder / "live.m3u8", frames=75, container="hls", container_options=options, options={"g": "25", "bf": "0"}
    )
    if not ends:
        playlist = folder / "live.m3u8"
        playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST\n", ""))


def test_a_complete_hls_playlist_is_paced_and_ends(tmp_path: Path) -> None:
    hls(tmp_path, ends=True)
    with serve_folder(tmp_path) as address:
        source = AvSource(f"{address}/live.m3u8", "hls")
        info = source.open()
        frames = [frame.stamps for frame in read_until(source, EndOfStreamError)]
        source.close()
    assert not info.live
    assert len(frames) == 75
    # Segments come at once, frames at their own rate.
    assert frames[-1].t_decoded_ns - frames[0].t_decoded_ns >= 74 * 40_000_000 - 200_000_000


def test_a_running_hls_playlist_is_followed_until_it_stalls(tmp_path: Path) -> None:
    hls(tmp_path, ends=False)
    with serve_folder(tmp_path) as address:
        source = AvSource(f"{address}/live.m3u8", "hls", stall_timeout_s=2.0)
        info = source.open()
        assert info.live
        assert len(read_for(source, 0.5)) > 5
        with pytest.raises((SourceStalledError, SourceDisconnectedError)):
            read_for(source, 60)
        source.close()
