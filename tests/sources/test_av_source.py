"""Files, generated pictures and everything that goes wrong while a source is opened."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from streamseg.config.schema import StreamConfig
from streamseg.errors import (
    EndOfStreamError,
    SourceDisconnectedError,
    SourceError,
    SourceNotFoundError,
    SourceOpenError,
    StreamsegError,
)
from streamseg.sources.av_options import AvKind
from streamseg.sources.av_session import AvSession
from streamseg.sources.av_source import AvSource
from streamseg.sources.open import open_source
from tests.servers.live_servers import black_hole, free_port, write_video


def read_all(source: AvSource) -> list[tuple[int | None, int]]:
    """Return (pts, sum of the luma) of every frame until the end."""
    seen = []
    while True:
        try:
            frame = source.read()
        except EndOfStreamError:
            return seen
        seen.append((frame.stamps.pts, int(frame.planes[0].sum())))


@pytest.mark.parametrize("codec_options", [{}, {"bf": "2"}], ids=["plain", "b-frames"])
def test_every_frame_of_a_file_in_order(tmp_path: Path, codec_options: dict[str, str]) -> None:
    path = write_video(tmp_path / "a.mp4", frames=30, options=codec_options)
    with av.open(str(path)) as container:
        expected = [(picture.pts, int(picture.to_ndarray()[:48].sum())) for picture in container.decode(video=0)]
    source = AvSource(str(path), "file", pace="fast")

    info = source.open()
    seen = read_all(source)
    source.close()

    assert (info.kind, info.live, info.width, info.height, info.frames) == ("file", False, 64, 48, 30)
    assert (info.frame_rate, info.codec) == (25.0, "h264")
    assert seen == expected
    assert source.corrupt == 0


def test_the_stamps_of_a_file_follow_its_pts(tmp_path: Path) -> None:
    source = AvSource(str(write_video(tmp_path / "a.mp4", frames=8)), "file", pace="live")
    source.open()
    started_wall, started = time.time_ns(), time.monotonic_ns()
    stamps = [source.read().stamps for _ in range(8)]
    source.close()

    assert {stamp.t_source for stamp in stamps} == {"file"}
    released = [stamp.t_decoded_ns for stamp in stamps]
    assert released[0] >= started
    assert stamps[0].t_wall_ns >= started_wall
    # 25 frames a second: never early. (That it is not late cannot be promised on a busy machine.)
    assert released[-1] - released[0] >= 7 * 40_000_000 - 1_000_000
    for stamp in stamps:
        assert 0 <= stamp.t_decoded_ns - stamp.t_captured_ns < 5_000_000_000
    numerator, denominator = stamps[0].time_base
    assert [round(stamp.pts * numerator / denominator * 25) for stamp in stamps if stamp.pts is not None] == [*range(8)]


def test_with_b_frames_a_stamp_is_that_of_the_picture_s_own_packet(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", frames=30, options={"bf": "3", "b_strategy": "0"})
    with av.open(str(path)) as container:
        packet_order = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert packet_order != sorted(packet_order), "the file has no B-frames: the test would prove nothing"
    session = AvSession(str(path), "file", transport="tcp", open_timeout_s=10, stall_timeout_s=10, low_delay=True)
    pictures = [session.next_picture() for _ in range(30)]
    session.close()

    by_arrival = sorted(pictures, key=lambda stamped: stamped.stamp.t_captured_ns)
    assert [stamped.picture.pts for stamped in by_arrival] == packet_order


def test_a_file_loops_without_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=5)
    source = AvSource(str(path), "file", pace="fast", loop=True)
    info = source.open()
    seen = [source.read().stamps.pts for _ in range(17)]
    source.close()
    assert info.frames is None
    assert seen == (seen[:5] * 4)[:17]
    assert len(set(seen[:5])) == 5


def test_a_loop_without_a_picture_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", frames=3)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for packet in packets:
        data = data.replace(packet, bytes(len(packet)))
    path.write_bytes(data)
    source = AvSource(str(path), "file", pace="fast", loop=True)
    source.open()
    with pytest.raises(SourceError, match=r"no picture could be decoded \(3 packets read, 3 damaged packets\)") as end:
        source.read()
    assert not isinstance(end.value, EndOfStreamError)
    assert end.value.exit_code == 4
    source.close()


def test_damaged_packets_are_counted_and_passed_over(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", frames=20, codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for packet in packets[5:8]:
        data = data.replace(packet, bytes(len(packet)))
    path.write_bytes(data)
    source = AvSource(str(path), "file", pace="fast")
    source.open()
    seen = read_all(source)
    assert source.corrupt == 3
    source.close()
    assert len(seen) == 17
    assert source.corrupt == 3, "the count must outlive the connection"


def test_a_truncated_file_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", frames=50)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    source = AvSource(str(path), "file", pace="fast")
    source.open()
    assert 10 < len(read_all(source)) < 50
    source.close()


def test_a_source_can_be_opened_again(tmp_path: Path) -> None:
    source = AvSource(str(write_video(tmp_path / "a.mp4", frames=5)), "file", pace="fast")
    for _ in range(2):
        source.open()
        assert len(read_all(source)) == 5
        source.close()
        source.close()
    with pytest.raises(SourceDisconnectedError, match="not open"):
        source.read()


def test_lavfi_sources_are_read() -> None:
    source = AvSource("testsrc2=size=320x240:rate=30:duration=0.5", "lavfi", pace="fast")
    info = source.open()
    assert (info.kind, info.live, info.width, info.height, info.frame_rate) == ("lavfi", False, 320, 240, 30.0)
    assert len(read_all(source)) == 15
    source.close()


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="no video"):
        AvSource("sine=duration=1", "lavfi").open()


SECRET = "p@ss:w0rd"
UNENCODED = "p@ss/w?rd#1"  # FFmpeg takes the wrong part of this for the host


@pytest.mark.parametrize(
    ("address", "kind", "error", "words"),
    [
        ("/nowhere/a.mp4", "file", SourceNotFoundError, "no such file"),
        ("/dev/video987", "v4l2", SourceNotFoundError, "no such device"),
        ("nosuchfilter=3", "lavfi", SourceOpenError, "cannot be opened"),
        ("rtsp://user:{secret}@127.0.0.1:{closed}/cam", "rtsp", SourceOpenError, "refused"),
        ("http://user:{secret}@127.0.0.1:{closed}/cam", "http", SourceOpenError, "refused"),
        ("rtmp://user:{secret}@127.0.0.1:{closed}/cam", "rtmp", SourceOpenError, "refused"),
        ("rtsp://user:{secret}@no-such-host.invalid/cam", "rtsp", SourceOpenError, "check the host name"),
        ("rtsp://user:{unencoded}@127.0.0.1/cam", "rtsp", SourceOpenError, "cannot be opened"),
        ("http://user:{unencoded}@127.0.0.1/cam", "http", SourceOpenError, "cannot be opened"),
        ("rtsp://user:{secret}@127.0.0.1:{hole}/cam", "rtsp", SourceOpenError, "no answer within"),
        ("http://user:{secret}@127.0.0.1:{hole}/cam", "http", SourceOpenError, "no answer within"),
        ("rtmp://user:{secret}@127.0.0.1:{hole}/cam", "rtmp", SourceOpenError, "no answer within"),
    ],
)
def test_opening_fails_in_words_and_without_the_password(
    address: str, kind: AvKind, error: type[StreamsegError], words: str
) -> None:
    with black_hole() as hole:
        url = address.format(secret=SECRET, unencoded=UNENCODED, closed=free_port(), hole=hole)
        source = AvSource(url, kind, open_timeout_s=1.0)
        with pytest.raises(error, match=words) as caught:
            source.open()
        source.close()
    assert type(caught.value) is error
    assert "p@ss" not in str(caught.value)
    assert "w0rd" not in str(caught.value)
    assert "rd#1" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "a logged traceback would show FFmpeg's text with the password"


def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\x07\x13not a video" * 1000)
    with pytest.raises(SourceOpenError, match="not a video"):
        AvSource(str(path), "file").open()


def test_nothing_is_left_after_many_connections(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10, size=(320, 240))
    process = psutil.Process()
    port = free_port()

    def connect_twice() -> None:
        source = AvSource(str(path), "file", pace="fast")
        source.open()
        source.read()
        source.close()
        refused = AvSource(f"rtsp://127.0.0.1:{port}/cam", "rtsp")
        with pytest.raises(SourceOpenError):
            refused.open()

    for _ in range(3):
        connect_twice()
    before = process.num_fds(), process.num_threads()
    for _ in range(30):
        connect_twice()
    assert process.num_fds() <= before[0]
    assert process.num_threads() <= before[1]


@pytest.mark.skipif(not os.path.exists("/dev/video0"), reason="no /dev/video0 on this machine")  # noqa: PTH110
def test_a_webcam_is_read() -> None:
    source = AvSource("/dev/video0", "v4l2")
    info = source.open()
    frame = source.read()
    source.close()
    assert info.live
    assert frame.format.width > 0


@pytest.fixture
def oriented(tmp_path: Path) -> Callable[[tuple[int, ...]], tuple[np.ndarray, np.ndarray]]:
    """Return (coded picture, delivered picture) of a video with a display matrix."""

    def deliver(matrix: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255
        picture[-8:, -16:] = 128
        path = tmp_path / f"{abs(hash(matrix))}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
            stream.set_display_matrix(list(matrix))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        source = AvSource(str(path), "file", pace="fast")
        source.open()
        got = source.read()
        source.close()
        return picture[..., 0], np.asarray(got.planes[0])[: got.format.height, : got.format.width]

    return deliver


ONE, W = 1 << 16, 1 << 30
MATRICES = {
    "as it is": ((ONE, 0, 0, 0, ONE, 0, 0, 0, W), lambda p: p),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0, 0, 0, W), lambda p: p[:, ::-1]),
    "upside down": ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, W), lambda p: p[::-1, ::-1]),
    "mirrored top to bottom": ((ONE, 0, 0, 0, -ONE, 0, 0, 0, W), lambda p: p[::-1]),
    "transposed": ((0, ONE, 0, ONE, 0, 0, 0, 0, W), lambda p: p.T),
    "turned right": ((0, ONE, 0, -ONE, 0, 0, 0, 0, W), lambda p: np.rot90(p, -1)),
    "transposed the other way": ((0, -ONE, 0, -ONE, 0, 0, 0, 0, W), lambda p: p[::-1, ::-1].T),
    "turned left": ((0, -ONE, 0, ONE, 0, 0, 0, 0, W), lambda p: np.rot90(p)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_whole_display_matrix_is_applied(oriented, name: str) -> None:  # type: ignore[no-untyped-def]
    matrix, expected = MATRICES[name]
    coded, delivered = oriented(matrix)
    want = expected(coded)
    assert delivered.shape == want.shape
    # Limited range and lossy chroma move levels, not the three areas.
    levels = np.digitize(delivered, (60, 190))
    assert np.mean(levels == np.digitize(want, (60, 190))) > 0.99


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_single_jpeg_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255
    picture[-8:, -16:] = 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    want = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")).convert("L"))
    source = open_source(StreamConfig(source=str(tmp_path / "a.jpg"), pace="fast"))
    source.open()
    got = source.read()
    source.close()
    delivered = np.asarray(got.planes[0]).reshape(got.format.height, got.format.width, 3)[..., 0]
    assert delivered.shape == want.shape
    assert np.mean(np.digitize(delivered, (60, 190)) == np.digitize(want, (60, 190))) > 0.98
