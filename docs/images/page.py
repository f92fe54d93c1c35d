"""Make ``page.jpg``: the real page in Chromium, with a real daemon and nano on a clip.

    python docs/images/page.py car-detection.mp4

The clip is one of the Intel IoT DevKit sample videos (CC BY 4.0). Twenty of its frames are played slowly, so that
a busy machine makes the same picture.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import yaml
from PIL import Image
from playwright.sync_api import sync_playwright

FIRST, COUNT, SHOWN = 202, 20, 7
PROMPTS = [
    {
        "object": 1,
        "label": "silver car",
        "box": [106, 10, 262, 292],
        "points": [[184, 60], [172, 170], [160, 262], [60, 200, 0], [60, 60, 0], [292, 200, 0]],
    },
    {
        "object": 2,
        "label": "red car",
        "box": [322, 196, 492, 432],
        "points": [[400, 230], [404, 300], [404, 410], [345, 300], [300, 380, 0], [520, 380, 0]],
    },
]


def cut(clip: Path, to: Path) -> None:
    """Write the frames as a video of two frames per second."""
    with av.open(str(clip)) as source, av.open(str(to), "w") as target:
        video = source.streams.video[0]
        stream = target.add_stream("libx264", rate=2, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for number, frame in enumerate(islice(source.decode(video=0), FIRST, FIRST + COUNT)):
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="yuv420p"), format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 2)
            target.mux(stream.encode(picture))
        target.mux(stream.encode())


def main() -> None:
    """Run the daemon, open the page, take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cut(Path(sys.argv[1]), folder / "cars.mp4")
        config = {
            "model": {"name": "nano", "image_size": 384},
            "publish": {"endpoints": [f"ipc://{folder}/masks"], "wait_for_subscriber": True},
            "control": {"endpoint": f"ipc://{folder}/control"},
            "http": {"listen": "127.0.0.1:0"},
            "streams": {"parking": {"source": str(folder / "cars.mp4"), "prompts": PROMPTS}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "streamseg", "run", str(folder / "config.yaml")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            assert daemon.stderr is not None
            url = next(line.rpartition(" ")[2].strip() for line in daemon.stderr if "the page is at " in line)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 860, "height": 926})
                page.goto(url)
                shown = "document.querySelector('#picture').dataset.frame || '0'"
                while int(page.evaluate(shown)) < SHOWN:
                    page.wait_for_timeout(30)
                page.screenshot(path=folder / "page.png")
                browser.close()
            daemon.terminate()
            daemon.communicate(timeout=20)
        Image.open(folder / "page.png").convert("RGB").save(Path(__file__).with_suffix(".jpg"), quality=90)


if __name__ == "__main__":
    main()
