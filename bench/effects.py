"""How long the page takes to paint a frame with each effect, in Chromium without a graphics card.

A 1280x720 picture with four masks of 5 % each is painted by the page's own ``effects.js``, which draws on a canvas.
The CPU is slowed down by ``--slowdown`` as well (Chromium's emulation; 4 is about a phone). Reading one pixel at the
end of each frame makes the browser finish it.

    python bench/effects.py
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

STATIC = Path(__file__).parents[1] / "streamseg" / "web" / "static"
PAINT = """async (rounds) => {
    const { EFFECTS, paintFrame } = await import("/effects.js");
    const [width, height] = [1280, 720];
    const source = new OffscreenCanvas(width, height), context = source.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let at = 0; at < pixels.data.length; at++) pixels.data[at] = at % 4 === 3 ? 255 : (at * 2654435761) >>> 24;
    context.putImageData(pixels, 0, 0);
    const bitmap = await createImageBitmap(source);
    const side = 240, mask = new Uint8Array(side * side);
    for (let at = 0; at < mask.length; at++) mask[at] = Math.hypot(at % side - 120, at / side - 120) < 120;
    const objects = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7"].map((color, index) =>
        ({ id: index + 1, color, roi: [40 + 300 * index, 200, side, side], mask }));
    const canvas = document.createElement("canvas"), taken = {};
    for (const effect of Object.keys(EFFECTS)) {
        const times = [];
        for (let round = 0; round < rounds; round++) {
            const began = performance.now();
            paintFrame(canvas, [width, height], bitmap, objects, { effect, opacity: 0.4 });
            canvas.getContext("2d").getImageData(0, 0, 1, 1);
            times.push(performance.now() - began);
        }
        taken[effect] = times.sort((one, other) => one - other)[rounds >> 1];
    }
    return taken;
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--slowdown", type=float, default=4.0)
    args = parser.parse_args()
    before = os.getloadavg()[0]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(STATIC)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/login.html")
        rows = {}
        for slowdown in (1.0, args.slowdown):
            page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
            rows[slowdown] = page.evaluate(PAINT, args.rounds)
        browser.close()
    print(f"{platform.machine()}, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; median ms of a frame\n")
    print(f"| effect | as it is | slowed down {args.slowdown:g} times |\n|---|---|---|")
    for effect, ms in rows[1.0].items():
        print(f"| {effect} | {ms:.1f} | {rows[args.slowdown][effect]:.1f} |")


if __name__ == "__main__":
    main()
