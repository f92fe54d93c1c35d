"""Make ``page.webp``: the real page in Chromium, used like a person would, with a real daemon and nano on a clip.

    python docs/images/page.py car-detection.mp4

The clip is one of the Intel IoT DevKit sample videos (CC BY 4.0). This script is the camera: it shows each picture
until the page has been used on it, so that a busy machine makes the same animation.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import av
import cv2
import yaml
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FIRST, COUNT = 202, 22
PERIOD_S = 1.0
VIEW = {"width": 1240, "height": 900}
SCALE = 0.72
SHOWN_MS = 260
CARS = {"silver car": ((106, 10, 262, 292), 13), "red car": ((322, 196, 492, 428), -11.5)}
"""Label -> its box in the first frame, and how far it moves down in each frame."""

CURSOR = """addEventListener("DOMContentLoaded", () => {
    const arrow = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    arrow.setAttribute("viewBox", "0 0 12 19");
    arrow.innerHTML = '<path d="M0 0v16l4-4 3 7 3-1-3-7h5z" fill="#fff" stroke="#000"/>';
    Object.assign(arrow.style, { position: "fixed", width: "16px", zIndex: 9, pointerEvents: "none" });
    document.body.append(arrow);
    addEventListener("pointermove", ({ clientX, clientY }) => {
        Object.assign(arrow.style, { left: `${clientX}px`, top: `${clientY}px` });
    }, true);
})"""


class Camera:
    """An MJPEG camera that shows one picture of a clip until the next one is asked for."""

    def __init__(self, clip: Path) -> None:
        with av.open(str(clip)) as source:
            frames = islice(source.decode(video=0), FIRST, FIRST + COUNT)
            self._pictures = [cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes() for frame in frames]
        self.number = 0

    def serve(self) -> str:
        """Serve in the background; return the address."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        jpeg = camera._pictures[camera.number]
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(PERIOD_S)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"


class Film:
    """Takes pictures of a page.

    Args:
        page: Opened.
        camera: What it shows.
    """

    def __init__(self, page: Page, camera: Camera) -> None:
        self._page = page
        self._camera = camera
        self.pictures: list[Image.Image] = []

    def shoot(self, times: int = 1) -> None:
        """Take a picture, and show it for some times as long."""
        picture = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        size = round(picture.width * SCALE), round(picture.height * SCALE)
        self.pictures += [picture.resize(size, Image.Resampling.LANCZOS)] * times

    def next(self) -> None:
        """Show the next picture of the clip, and wait until it is on the screen, two frames later at most."""
        self._camera.number += 1
        for _ in range(3):
            self.next_frame()
        self._page.wait_for_timeout(300)  # the list of objects follows the picture

    def next_frame(self) -> None:
        """Wait for another frame."""
        before = self._page.locator("#picture").get_attribute("data-frame")
        changed = "before => document.querySelector('#picture').dataset.frame !== before"
        self._page.wait_for_function(changed, arg=before, timeout=120_000)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        box = self._page.locator("#overlay").bounding_box()
        assert box is not None
        return box["x"] + x * box["width"] / 768, box["y"] + y * box["height"] / 432

    def draw_box(self, label: str) -> None:
        """Mark a car by a box, and name it."""
        (x0, y0, x1, y1), speed = CARS[label]
        moved = speed * self._camera.number
        top, bottom = max(2, y0 + moved), min(429, y1 + moved)
        mouse = self._page.mouse
        mouse.move(*self.place(x0, top))
        mouse.down()
        for share in (0.5, 1):
            mouse.move(*self.place(x0 + share * (x1 - x0), top + share * (bottom - top)), steps=4)
            self.shoot()
        mouse.up()
        self._page.locator(".object").nth(list(CARS).index(label)).wait_for(timeout=120_000)
        row = self._page.locator(".object input").nth(list(CARS).index(label))
        row.fill(label)
        row.press("Enter")
        self.shoot()

    def exclude(self, x: float, y: float) -> None:
        """Exclude the road at a point from the selected car."""
        self._page.mouse.move(*self.place(x, y))
        self._page.keyboard.down("Shift")
        self._page.mouse.down()
        self._page.mouse.up()
        self._page.keyboard.up("Shift")
        self.next_frame()
        self.shoot()


def use(page: Page, camera: Camera) -> list[Image.Image]:
    """Use the page; return its pictures."""
    film = Film(page, camera)
    page.wait_for_selector("#picture[data-frame]")
    page.mouse.move(*film.place(184, 90))
    page.wait_for_timeout(2500)  # the preview of a click
    film.shoot(3)
    film.draw_box("silver car")
    film.exclude(60, 60)
    film.next()
    page.keyboard.press("n")
    film.draw_box("red car")
    film.exclude(300, 380)
    page.keyboard.press("n")
    page.keyboard.press("t")
    page.mouse.move(700, VIEW["height"] - 20)
    while camera.number < COUNT - 1:
        film.next()
        if camera.number == 9:
            page.select_option("#effect", "spotlight")
        if camera.number == 15:
            page.select_option("#effect", "color")
        film.shoot()
    return film.pictures


def main() -> None:
    """Run the daemon, use the page, write the animation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        camera = Camera(Path(sys.argv[1]))
        config = {
            "model": {"name": "nano", "image_size": 384},
            "publish": {"endpoints": [f"ipc://{folder}/masks"]},
            "control": {"endpoint": f"ipc://{folder}/control"},
            "http": {"listen": "127.0.0.1:0"},
            "streams": {"parking": {"source": camera.serve(), "stall_timeout_s": 60}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "streamseg", "run", str(folder / "config.yaml")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            assert daemon.stderr is not None
            url = next(line.rpartition(" ")[2].strip() for line in daemon.stderr if "the page is at " in line)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
                page = browser.new_page(viewport=VIEW, color_scheme="dark")
                page.add_init_script(CURSOR)
                page.goto(url)
                pictures = use(page, camera)
                browser.close()
            daemon.terminate()
            daemon.communicate(timeout=20)
        target = Path(__file__).with_suffix(".webp")
        pictures[0].save(
            target, save_all=True, append_images=pictures[1:], duration=SHOWN_MS, loop=0, quality=62, method=6
        )
        print(f"{target}: {len(pictures)} pictures, {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
