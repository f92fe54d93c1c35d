"""Sources that need no server: packets that come by UDP, snapshots that are polled, standard input."""

import io
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from streamseg.config.load import config_from_mapping
from streamseg.config.schema import StreamConfig
from streamseg.errors import ConfigError
from streamseg.sources.address import describe, shown_address
from streamseg.sources.open import open_source
from tests.servers.http_server import http_server
from tests.servers.live_servers import free_port, write_video


@contextmanager
def sending(url: str, container_format: str) -> Iterator[None]:
    """Send a video by UDP, 25 pictures a second, until the context is left."""
    stop = threading.Event()

    def send() -> None:
        with av.open(url, "w", format=container_format) as container:
            stream = container.add_stream("mpeg4", rate=25, options={"g": "5"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in itertools.count():
                if stop.wait(0.04):
                    return
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 256, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("listen", "send_to", "container_format", "kind"),
    [
        ("udp://127.0.0.1:{}", "udp://127.0.0.1:{}?pkt_size=1316", "mpegts", "udp"),
        ("UDP://:{}", "udp://127.0.0.1:{}?pkt_size=1316", "mpegts", "udp"),
        ("rtp://127.0.0.1:{}", "rtp://127.0.0.1:{}", "rtp_mpegts", "rtp"),
        ("sdp", "rtp://127.0.0.1:{}", "rtp_mpegts", "sdp"),
    ],
)
def test_packets_by_udp_are_read(tmp_path: Path, listen: str, send_to: str, container_format: str, kind: str) -> None:
    port = free_port() & ~1  # RTP uses the next one as well
    address = listen.format(port)
    if listen == "sdp":
        address = str(tmp_path / "a.sdp")
        text = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n"
        Path(address).write_text(text)
    described = describe(address)
    assert (described.kind, described.live) == (kind, True)
    with sending(send_to.format(port), container_format):
        source = open_source(StreamConfig(source=address, open_timeout_s=30))
        info = source.open()
        frames = [source.read() for _ in range(5)]
        source.close()
    assert (info.kind, info.live, info.codec) == (kind, True, "mpeg4")
    assert {(frame.format.width, frame.format.height) for frame in frames} == {(64, 48)}


def test_a_protocol_that_the_wheel_lacks_is_refused_by_name() -> None:
    if "srt" in av_protocols():
        pytest.skip("this FFmpeg has srt")
    with pytest.raises(ConfigError, match="the FFmpeg that PyAV brings does not support srt: use another protocol"):
        open_source(StreamConfig(source="srt://127.0.0.1:9000")).open()


def av_protocols() -> set[str]:
    try:
        av.open("srt://127.0.0.1:1?timeout=1", timeout=0.1)
    except av.error.ProtocolNotFoundError:
        return set()
    except (av.error.FFmpegError, OSError):
        return {"srt"}
    return {"srt"}


def test_snapshots_are_polled_at_their_rate() -> None:
    requests = itertools.count(1)

    def answer(request: BaseHTTPRequestHandler) -> None:
        image = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), next(requests) * 3 % 250, np.uint8)).save(image, "JPEG")
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.send_header("Content-Length", str(len(image.getvalue())))
        request.end_headers()
        request.wfile.write(image.getvalue())

    with http_server(answer, "HTTP/1.0") as url:
        address = f"snapshot+{url.replace('//', '//u:pw-of-it@')}/snap.jpg?channel=1"
        assert "pw-of-it" not in shown_address(address)
        config_from_mapping({"streams": {"cam": {"source": address, "fps": 10}}})
        source = open_source(StreamConfig(source=address, fps=10))
        info = source.open()
        started = time.monotonic()
        levels = [int(source.read().planes[0].mean()) for _ in range(6)]
        took_s = time.monotonic() - started
        source.close()
    assert (info.kind, info.live, info.frame_rate) == ("snapshot", True, 10.0)
    assert len(set(levels)) == 6, "each is requested for itself"
    assert took_s > 0.45, "ten a second"


def test_standard_input_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", frames=20)
    command = [sys.executable, "-m", "streamseg", "probe", "-", "--seconds", "30", "--json"]
    with path.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        done = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert '"frames":20' in done.stdout
    assert '"ended":true' in done.stdout


@pytest.mark.parametrize("scheme", ["rist", "RIST", "ftp", "sftp", "mms", "srtp", "tcp", "rtmpt", "smb", "whep", "ws"])
def test_other_protocols_are_not_taken_for_typing_errors(scheme: str) -> None:
    with pytest.raises(ConfigError, match="unknown kind of source") as caught:
        describe(f"{scheme}://10.0.0.4:9000/x")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("rtps", "rtsp"), ("rstp", "rtsp"), ("htps", "https"), ("wbecam", "webcam"), ("sceen", "screen")],
)
def test_typing_errors_in_a_scheme_are_corrected(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        describe(f"{typed}://10.0.0.4:9000/x")


@pytest.mark.parametrize("scheme", ["srtt", "strs", "rst"])
def test_protocols_that_ffmpeg_may_lack_are_not_suggested(scheme: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe(f"{scheme}://10.0.0.4:9000")
    assert "did you mean 'srt'" not in str(caught.value)


@pytest.mark.parametrize("address", ["udp://", "udp://@", "snapshot+http:///x", "srt://h:99999", "screen"])
def test_invalid_addresses_of_these_kinds_are_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        describe(address)
