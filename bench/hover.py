"""What hovering costs tracked frames: several viewers move their mice over the page's picture.

Windows without and with hovering take turns in one run, with more frames than the model can track. Each viewer requests
previews as the page does: one at a time, then a pause of twice the time that the reply took, at least 80 ms.

A page in Chromium then hovers alone: measured is the time from the movement of the mouse until the mask is painted.

    python bench/hover.py
    python bench/hover.py --viewers 4 --seconds 8 --rounds 3 --model nano
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

from streamseg.client import Controller, Subscriber
from streamseg.errors import ControlError

STREAM = "cam"
MIN_PAUSE_S = 0.08
READY_S = 120
PAUSE_MS = 400
SEEN_TIMEOUT_MS = 2000
SEEN = """{
    let movedAt = null;
    window.seenMs = [];
    addEventListener("pointermove", (event) => {
        movedAt = event.target.id === "overlay" ? event.timeStamp : null;
    }, true);
    const { drawImage } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function (...args) {
        drawImage.apply(this, args);
        if (this.canvas.id !== "overlay" || movedAt === null) return; // the overlay draws only previews as images
        const began = movedAt;
        movedAt = null;
        requestAnimationFrame(() => seenMs.push(performance.now() - began));
    };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moves", type=int, default=20, help="of the mouse in the browser")
    parser.add_argument("--model", default="nano")
    args = parser.parse_args()
    before = os.getloadavg()[0]
    rates: dict[bool, list[float]] = {False: [], True: []}
    answers_ms: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        daemon = start_daemon(folder, args.model)
        try:
            with Subscriber(f"ipc://{folder}/masks", kinds=("objects",)) as frames:
                frames.receive(READY_S)
                for _ in range(args.rounds):
                    for hovering in (False, True):
                        with Viewers(folder, args.viewers if hovering else 0, answers_ms):
                            count_frames(frames, 1.0)  # until the change has its effect
                            rates[hovering].append(count_frames(frames, args.seconds) / args.seconds)
            seen_ms = hover_in_browser(page_address(folder), args.moves)
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)
    still, moved = statistics.median(rates[False]), statistics.median(rates[True])
    print(f"{platform.machine()}, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; {args.model}, 2 objects")
    print(f"frames/s without hovering {still:.1f} {shown(rates[False])}, with {moved:.1f} {shown(rates[True])}")
    cost, answer_ms = 1 - moved / still, statistics.median(answers_ms)
    print(f"cost {cost:.1%}; {len(answers_ms)} previews, median answer {answer_ms:.0f} ms")
    print(f"in Chromium: {len(seen_ms)} masks, {statistics.median(seen_ms):.0f} ms from mouse to mask (median)")


def shown(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in values) + ")"


def start_daemon(folder: Path, model: str) -> subprocess.Popen[bytes]:
    """Start a daemon whose source has more frames than the model can track."""
    prompts = [{"object": 1, "points": [[160, 90]]}, {"object": 2, "points": [[320, 180]]}]
    config = {
        "model": {"name": model},
        "publish": {"endpoints": [f"ipc://{folder}/masks"]},
        "control": {"endpoint": f"ipc://{folder}/control"},
        "http": {"listen": "127.0.0.1:0"},
        "streams": {STREAM: {"source": "scene:simple?size=640x360&fps=100&cache=20", "prompts": prompts}},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "streamseg", "run", str(file)], stderr=log)


def page_address(folder: Path) -> str:
    """Return where the page is, which the daemon has logged before its first frame."""
    found = re.search(r"the page is at (\S+)", (folder / "log").read_text())
    if found is None:
        raise SystemExit("the daemon has not logged the address of its page")
    return found[1]


def hover_in_browser(url: str, moves: int) -> list[float]:
    """Move the mouse onto the picture again and again; return how long each mask took to be painted, in ms."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(bypass_csp=True)  # to wait for what the page has counted
        page.add_init_script(SEEN)
        page.goto(url)
        page.wait_for_selector("#picture[data-frame]")
        box = page.locator("#overlay").bounding_box()
        assert box is not None
        for step in range(moves):
            across, down = 0.05 + 0.9 * (step * 7 % 19) / 19, 0.06 + 0.03 * (step % 3)
            page.mouse.move(1, 1)
            page.wait_for_timeout(PAUSE_MS)
            before = page.evaluate("seenMs.length")
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            with contextlib.suppress(PlaywrightTimeout):  # no mask there, or a followed object
                page.wait_for_function(f"seenMs.length > {before}", timeout=SEEN_TIMEOUT_MS)
        seen: list[float] = page.evaluate("seenMs")
        browser.close()
    return seen


def count_frames(frames: Subscriber, seconds: float) -> int:
    """Return how many frames with masks come within some time."""
    until, count = time.monotonic() + seconds, 0
    while (left := until - time.monotonic()) > 0:
        try:
            frames.receive(left)
        except TimeoutError:
            break
        count += 1
    return count


class Viewers:
    """Viewers that hover for the duration of the block.

    Args:
        folder: Has the daemon's control socket.
        count: How many.
        answers_ms: Takes how long the answers took.
    """

    def __init__(self, folder: Path, count: int, answers_ms: list[float]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._hover, args=(f"ipc://{folder}/control", number, answers_ms))
            for number in range(count)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _hover(self, endpoint: str, number: int, answers_ms: list[float]) -> None:
        with Controller(endpoint) as control:
            step = 0
            while not self._stop.is_set():
                step += 1
                point = (0.1 + 0.8 * (step * 7 % 19) / 19, 0.2 + 0.1 * number)
                began = time.monotonic()
                try:
                    control.add_prompt(STREAM, points=[point], preview=True, on_expired="newest")
                    answers_ms.append(1000 * (time.monotonic() - began))
                except ControlError as error:
                    if error.code != "BUSY":
                        raise
                self._stop.wait(max(MIN_PAUSE_S, 2 * (time.monotonic() - began)))


if __name__ == "__main__":
    main()
