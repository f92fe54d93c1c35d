"""Videos, playlists and pictures of a web server: what is delivered, and the error when it sends something else."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from streamseg.config.schema import StreamConfig
from streamseg.errors import (
    EndOfStreamError,
    SourceAuthError,
    SourceDisconnectedError,
    SourceNotFoundError,
    SourceOpenError,
)
from streamseg.sources.address import describe
from streamseg.sources.av_options import AvKind
from streamseg.sources.av_source import AvSource
from streamseg.sources.open import open_source
from tests.servers.http_server import http_server
from tests.servers.live_servers import free_port, serve_folder, write_video
from tests.sources.test_av_files import fast_start, large_image, read_to_the_end


@contextmanager
def serve(data: bytes, *, break_after: int | None = None, content_type: str = "video/mp4") -> Iterator[str]:
    """Serve bytes at every path, whatever its query; with ``break_after`` the connection breaks there."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
        request.send_response(206 if start else 200)
        request.send_header("Content-Type", content_type)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(data) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        request.wfile.write(data[start:break_after])

    with http_server(answer, "HTTP/1.0") as url:
        yield url


def test_a_video_file_behind_http_is_a_file(tmp_path: Path) -> None:
    data = fast_start(write_video(tmp_path / "a.mp4", frames=40), tmp_path / "b.mp4").read_bytes()
    with serve(data) as url:
        address = f"{url}/clip.mp4?channel=1"
        assert describe(address).live is None, "only opening it tells"
        source = open_source(StreamConfig(source=address, pace="fast"))
        info = source.open()
        assert (info.kind, info.live, info.frames) == ("http", False, 40)
        count, error = read_to_the_end(source)  # type: ignore[arg-type]
        source.close()
    assert count == 40
    assert isinstance(error, EndOfStreamError)


def test_a_connection_that_breaks_half_way_is_an_error_with_a_count(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mp4", frames=40, size=(640, 480), options={"qp": "10"})
    data = fast_start(clip, tmp_path / "b.mp4").read_bytes()
    with serve(data, break_after=len(data) * 7 // 10) as url:
        source = AvSource(f"{url}/clip.mp4", "http", pace="fast")
        source.open()
        count, error = read_to_the_end(source)
        source.close()
    assert 5 < count < 40
    assert isinstance(error, SourceDisconnectedError)
    assert error.exit_code == 4
    assert f"after {count} pictures" in str(error)


def fragmented(path: Path) -> Path:
    """Write a video of 40 frames whose container announces neither their number nor a duration."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    return write_video(path, frames=40, options={"bf": "0", "g": "10"}, container_options=options)


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv"])
def test_a_server_that_closes_without_saying_so_can_be_sought(tmp_path: Path, suffix: str) -> None:
    """FFmpeg asks to close the connection. A server may do so without a ``Connection: close`` in its answer."""
    path = write_video(tmp_path / f"a.{suffix}", frames=40)
    data = path.read_bytes()

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
        request.send_response(206)
        request.send_header("Content-Length", str(len(data) - start))
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        request.wfile.write(data[start:])

    with http_server(answer, "HTTP/1.1") as url:
        source = AvSource(f"{url}/clip.{suffix}", "http", pace="fast")
        assert not source.open().live
        count, error = read_to_the_end(source)
        source.close()
    assert (count, type(error)) == (40, EndOfStreamError)


@contextmanager
def without_length(data: bytes, *, chunked: bool, whole: bool = True) -> Iterator[str]:
    """Serve bytes whose end only the last chunk tells, or the end of the connection."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header(*("Transfer-Encoding", "chunked") if chunked else ("Connection", "close"))
        request.end_headers()
        request.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if chunked and whole:
            request.wfile.write(b"0\r\n\r\n")
        request.close_connection = True

    with http_server(answer, "HTTP/1.1") as url:
        yield url


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "fragmented"])
def test_a_video_without_a_length_ends_well_if_it_is_whole(tmp_path: Path, kind: str, chunked: bool) -> None:
    whole = write_video(tmp_path / f"a.{kind}", frames=40) if kind == "mkv" else tmp_path / "b.mp4"
    if kind == "mp4":
        fast_start(write_video(tmp_path / "a.mp4", frames=40), whole)
    elif kind == "fragmented":
        fragmented(whole)
    with without_length(whole.read_bytes(), chunked=chunked) as url:
        source = AvSource(f"{url}/clip", "http", pace="fast")
        assert not source.open().live
        count, error = read_to_the_end(source)
        source.close()
    assert (count, type(error)) == (40, EndOfStreamError), error


@pytest.mark.parametrize("chunked", [False, True])
def test_a_video_without_a_length_that_ends_within_a_picture_broke(tmp_path: Path, chunked: bool) -> None:
    path = fragmented(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][25]
        end = last.pos + last.size // 2
    with without_length(path.read_bytes()[:end], chunked=chunked, whole=False) as url:
        source = AvSource(f"{url}/clip", "http", pace="fast")
        source.open()
        count, error = read_to_the_end(source)
        source.close()
    assert count == 25
    assert isinstance(error, SourceDisconnectedError)
    assert "(it ends within a picture), after 25 pictures" in str(error)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_camera_that_ends_its_answer_loses_no_picture(tmp_path: Path, chunked: bool) -> None:
    data = write_video(tmp_path / "a.ts", frames=40, options={"bf": "2"}).read_bytes()
    with without_length(data, chunked=chunked) as url:
        source = AvSource(f"{url}/clip", "http")
        assert source.open().live
        count, error = read_to_the_end(source)
        source.close()
    assert count == 40
    assert "the server ended the stream" in str(error)


def hls_folder(folder: Path, frames: int = 60) -> Path:
    folder.mkdir()
    with av.open(str(folder / "x.m3u8"), "w", options={"hls_time": "1", "hls_playlist_type": "vod"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def test_a_recorded_hls_stream_is_a_file_and_a_running_one_is_paced(tmp_path: Path) -> None:
    folder = hls_folder(tmp_path / "hls")
    with serve_folder(folder) as url:
        playlist = (folder / "x.m3u8").read_text().replace("x0", f"{url}/x0").replace("x1", f"{url}/x1")
        playlist = playlist.replace("x2", f"{url}/x2")
        with serve(playlist.encode(), content_type="application/vnd.apple.mpegurl") as plain:
            source = AvSource(f"{plain}/live?id=7", "http", pace="fast")
            info = source.open()
            assert (info.kind, info.live) == ("hls", False)
            count, error = read_to_the_end(source)
            source.close()
            assert (count, type(error)) == (60, EndOfStreamError)
        running = playlist.replace("#EXT-X-ENDLIST\n", "").replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "")
        with serve(running.encode(), content_type="application/vnd.apple.mpegurl") as plain:
            source = AvSource(f"{plain}/live?id=7", "http")
            info = source.open()
            assert (info.kind, info.live) == ("hls", True)
            started = time.monotonic()
            for _ in range(20):
                source.read()
            source.close()
            assert time.monotonic() - started > 19 / 25 - 0.1, "a segment comes at once, its frames one by one"


@pytest.mark.parametrize("broken", [False, True])
def test_a_recorded_hls_stream_without_lengths_ends_well_if_it_is_whole(tmp_path: Path, broken: bool) -> None:
    folder = hls_folder(tmp_path / "hls", frames=75)

    def answer(request: BaseHTTPRequestHandler) -> None:
        name = request.path.rpartition("/")[2].partition("?")[0]
        data = (folder / name).read_bytes()
        request.send_response(200)
        request.send_header("Content-Type", "application/vnd.apple.mpegurl" if name == "x.m3u8" else "video/mp2t")
        request.end_headers()
        request.wfile.write(data[: len(data) // 2] if broken and name == "x2.ts" else data)

    with http_server(answer, "HTTP/1.0") as url:
        source = AvSource(f"{url}/x.m3u8", "hls", pace="fast")
        info = source.open()
        assert (info.live, info.frame_rate) == (False, 25)
        count, error = read_to_the_end(source)
        source.close()
    if broken:
        assert count < 75
        assert isinstance(error, SourceDisconnectedError)
    else:
        assert (count, type(error)) == (75, EndOfStreamError), error


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with http_server(answer, "HTTP/1.0") as url:
        yield f"{url}/s.jpg"


@pytest.mark.parametrize("scheme", ["http", "snapshot+http"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_image_of_a_server_is_refused_before_it_is_decoded(scheme: str, kind: str) -> None:
    with answering(200, large_image(kind)) as url:
        code = (
            "import sys; from streamseg.sources.av_source import AvSource\n"
            "def peak(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
            "source = AvSource(sys.argv[1], sys.argv[2], open_timeout_s=30); before = peak()\n"
            "try: source.open(); source.read()\n"
            "except Exception as error: print(error)\n"
            "print(peak() - before)"
        )
        address = url.replace("http", scheme, 1)
        source = "snapshot" if "+" in scheme else "http"
        ran = subprocess.run(
            [sys.executable, "-c", code, address, source], capture_output=True, text=True, timeout=60, check=True
        )
    *message, grown_kib = ran.stdout.splitlines()
    assert "it has 9000x9000 pixels, more than 67,108,864" in message[-1]
    assert int(grown_kib) < 60_000  # its pixels alone have 79 MiB


@pytest.mark.parametrize("kind", ["snapshot", "http"])
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"", SourceAuthError),
        (404, b"", SourceNotFoundError),
        (500, b"", SourceOpenError),
        (200, b"", SourceOpenError),
        (200, b"<html>please log in</html>", SourceOpenError),
    ],
)
def test_a_server_that_sends_no_picture_is_not_a_crash(
    kind: AvKind, status: int, body: bytes, error: type[SourceOpenError]
) -> None:
    """FFmpeg opens a snapshot address without asking it, and then knows no codec."""
    with answering(status, body) as url, pytest.raises(error):
        AvSource(f"snapshot+{url}" if kind == "snapshot" else url, kind, open_timeout_s=4).open()


@pytest.mark.parametrize(
    ("kind", "words"), [("http", "the server answers, but with nothing"), ("snapshot", "no picture")]
)
def test_an_answer_that_is_no_video_is_told_from_a_wrong_address(kind: AvKind, words: str) -> None:
    with answering(200, b"<html>please log in</html>" * 50) as url, pytest.raises(SourceOpenError, match=words):
        AvSource(f"snapshot+{url}" if kind == "snapshot" else url.replace("s.jpg", "live"), kind).open()


def test_a_snapshot_without_its_length_is_named() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "jpeg")
    with without_length(file.getvalue(), chunked=False) as url, pytest.raises(SourceOpenError, match="Content-Length"):
        AvSource(f"snapshot+{url}/snap.cgi", "snapshot").open()


@pytest.mark.parametrize("scheme", ["http", "snapshot+http"])
@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
def test_a_picture_of_a_server_is_turned_and_mirrored_as_its_exif_says(suffix: str, scheme: str) -> None:
    for orientation in range(1, 9):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255
        picture[-8:, -16:] = 128
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = io.BytesIO()
        Image.fromarray(picture).save(file, suffix, exif=exif, quality=95)
        want = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("L"))
        with answering(200, file.getvalue()) as url:
            source = open_source(StreamConfig(source=url.replace("http", scheme).replace("jpg", suffix), pace="fast"))
            source.open()
            got = source.read()
            source.close()
        plane = np.asarray(got.planes[0]).reshape(got.format.height, got.format.width, -1)[..., 0]
        assert plane.shape == want.shape, orientation
        assert np.mean(np.digitize(plane, (60, 190)) == np.digitize(want, (60, 190))) > 0.98, orientation


def test_a_snapshot_address_that_is_down_is_named() -> None:
    with pytest.raises(SourceOpenError, match="connection refused"):
        AvSource(f"snapshot+http://127.0.0.1:{free_port()}/s.jpg", "snapshot", open_timeout_s=4).open()
