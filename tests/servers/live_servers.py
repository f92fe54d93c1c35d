"""Real servers for the tests of sources: started, killed, stopped and continued at will."""

import contextlib
import functools
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
TIMEOUT_S = 30


class ServerProcess:
    """A process that prints a line when it is ready."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def first_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server ended before it was ready"
        return line

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(TIMEOUT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


class GstRtspServer(ServerProcess):
    """GStreamer's RTSP server with one stream, ``/cam``."""

    def __init__(self, **settings: object) -> None:
        super().__init__(SYSTEM_PYTHON, str(HERE / "gst_rtsp_server.py"), json.dumps(settings))
        self.port = json.loads(self.first_line())["port"]

    def url(self, credentials: str = "", path: str = "/cam") -> str:
        return f"rtsp://{credentials}127.0.0.1:{self.port}{path}"


class Publisher(ServerProcess):
    """Publishes to an address where a server listens, or soon will."""

    def __init__(self, url: str, **settings: object) -> None:
        container = "rtsp" if url.startswith("rtsp") else "flv"
        command = json.dumps({"url": url, "format": container} | settings)
        super().__init__(sys.executable, str(HERE / "av_publisher.py"), command)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def missing_gstreamer() -> str | None:
    """Why the GStreamer tests cannot run here; None if they can."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True, text=True, timeout=TIMEOUT_S)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


class MjpegServer:
    """HTTP-MJPEG, each part put in by the test: bytes, or None to close the connection."""

    def __init__(self) -> None:
        self.parts: queue.Queue[bytes | None] = queue.Queue()
        handler = functools.partial(_MjpegHandler, self.parts)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/video"

    def put(self, *sizes: tuple[int, int]) -> None:
        for width, height in sizes:
            self.parts.put(jpeg(width, height))

    def close(self) -> None:
        self.parts.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)


class _MjpegHandler(http.server.BaseHTTPRequestHandler):
    def __init__(self, parts: queue.Queue[bytes | None], *args: object) -> None:
        self._parts = parts
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if "denied" in self.path:
            self.send_error(401)
            return
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):
            while (part := self._parts.get()) is not None:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                self.wfile.write(head.encode() + part + b"\r\n")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP and yield its address."""
    handler = functools.partial(_QuietFolderHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(TIMEOUT_S)


class _QuietFolderHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@functools.cache
def jpeg(width: int, height: int) -> bytes:
    """A gray picture with noise: FFmpeg wants 2 KiB before it says what a stream is."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    gray = np.random.default_rng(0).integers(60, 121, (height, width, 1), np.uint8).repeat(3, axis=2)
    picture = av.VideoFrame.from_ndarray(gray).reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def write_video(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    sample_aspect: Fraction | None = None,
) -> Path:
    """Write a test picture that moves; each frame differs."""
    graph = f"testsrc2=size={size[0]}x{size[1]}:rate={rate}"
    with (
        av.open(graph, format="lavfi") as source,
        av.open(str(path), "w", format=container, options=container_options or {}) as output,
    ):
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        for picture, _ in zip(source.decode(video=0), range(frames), strict=False):
            reformatted = picture.reformat(format=pixel_format)
            reformatted.pict_type = 0
            output.mux(stream.encode(reformatted))
        output.mux(stream.encode(None))
    return path
