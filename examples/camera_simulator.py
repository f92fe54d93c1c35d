"""A network camera that does not exist: a generated scene as MJPEG over HTTP, to try streamseg without a camera.

    python examples/camera_simulator.py --listen 127.0.0.1:8090
    streamseg run http://127.0.0.1:8090/camera.mjpg --http 127.0.0.1:8080

All viewers see the same moment. ``PUT /size`` with a body such as ``320x180`` changes the size of the pictures, as a
change of a camera's settings does. The number of each picture is drawn into its upper left corner.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from streamseg.errors import ConfigError
from streamseg.sources.scene.source import Scene

BOUNDARY = "frame"


class Camera(ThreadingHTTPServer):
    """The server, with what all its connections share."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], scene: str, size: str, rate: int) -> None:
        self.scene, self.size, self.rate = scene, size, rate
        self.began = time.monotonic()
        self.open_scene()  # an unknown scene or size is an error now, not in the first connection
        super().__init__(address, Connection)

    def open_scene(self) -> Scene:
        """Return the scene at its present size."""
        return Scene(f"scene:{self.scene}?size={self.size}&fps={self.rate}&code=1")


class Connection(BaseHTTPRequestHandler):
    """One request."""

    server: Camera

    def do_GET(self) -> None:
        """Send pictures until the viewer goes; at ``/``, a word."""
        if self.path == "/camera.mjpg":
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.end_headers()
            with contextlib.suppress(OSError):  # until the viewer is gone
                self.send_pictures()
        elif self.path == "/":
            self.answer(200, "a camera: /camera.mjpg")
        else:
            self.answer(404, "there is only /camera.mjpg")

    def do_PUT(self) -> None:
        """Change the size of the pictures."""
        wanted = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 20)).decode()
        before, self.server.size = self.server.size, wanted
        try:
            self.server.open_scene()
        except ConfigError as error:
            self.server.size = before
            self.answer(400, str(error))
        else:
            self.answer(200, wanted)

    def send_pictures(self) -> None:
        """Send the newest picture, again and again, at the camera's rate."""
        scene, size = self.server.open_scene(), self.server.size
        while True:
            if size != self.server.size:
                scene, size = self.server.open_scene(), self.server.size
            number = int((time.monotonic() - self.server.began) * self.server.rate) + 1
            time.sleep(max(0.0, self.server.began + number / self.server.rate - time.monotonic()))
            picture = cv2.cvtColor(scene.render(number), cv2.COLOR_RGB2BGR)
            jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def answer(self, status: int, text: str) -> None:
        """Answer with a line of text."""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    """Run the camera until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:8090", metavar="HOST:PORT")
    parser.add_argument("--scene", default="simple", help="default, leave, crossing, simple or visit")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--rate", type=int, default=15, help="pictures per second")
    args = parser.parse_args()
    host, _, port = args.listen.rpartition(":")
    with Camera((host, int(port)), args.scene, args.size, args.rate) as camera:
        print(f"http://{host}:{camera.server_address[1]}/camera.mjpg", flush=True)
        camera.serve_forever()


if __name__ == "__main__":
    main()
