"""How long the page takes to paint a frame with each effect, in Chromium without a graphics card.

A 1280x720 picture with four masks of 5 % each is painted by the page's own ``effects.js``, which draws on a canvas.
The CPU is slowed down by ``--slowdown`` as well (Chromium's emulation; 4 is about a phone). Reading one pixel at the
end of each frame makes the browser finish it. ``gray`` is painted with WebGL2 as well: one draw for the picture and one
for each mask.

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
PAINT_WEBGL = """(rounds) => {
    const [width, height, side] = [1280, 720, 240];
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const gl = canvas.getContext("webgl2", { antialias: false });
    const shader = (type, source) => {
        const made = gl.createShader(type);
        gl.shaderSource(made, "#version 300 es\\nprecision mediump float;" + source);
        gl.compileShader(made);
        gl.attachShader(program, made);
    };
    const program = gl.createProgram();
    shader(gl.VERTEX_SHADER, `uniform vec4 box; out vec2 place, inside; void main() {
        inside = vec2(gl_VertexID & 1, gl_VertexID >> 1);
        place = box.xy + inside * box.zw;
        gl_Position = vec4(place.x * 2. - 1., 1. - place.y * 2., 0., 1.); }`);
    shader(gl.FRAGMENT_SHADER, `uniform sampler2D picture, mask; uniform bool masked;
        in vec2 place, inside; out vec4 color; void main() {
            color = texture(picture, place);
            if (!masked) color.rgb = vec3(dot(color.rgb, vec3(.3, .59, .11)));
            else if (texture(mask, inside).r == 0.) discard; }`);
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const uniform = (name) => gl.getUniformLocation(program, name);
    for (const unit of [0, 1]) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
        for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
            gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
        }
    }
    gl.uniform1i(uniform("picture"), 0);
    gl.uniform1i(uniform("mask"), 1);
    const box = uniform("box"), masked = uniform("masked");
    const draw = (...place) => { gl.uniform4f(box, ...place); gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4); };
    const times = [];
    for (let round = 0; round < rounds; round++) {
        const began = performance.now();
        gl.activeTexture(gl.TEXTURE0);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
        gl.uniform1i(masked, 0);
        draw(0, 0, 1, 1);
        gl.activeTexture(gl.TEXTURE1);
        gl.uniform1i(masked, 1);
        for (const { roi: [x, y], mask } of objects) {
            gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, side, side, 0, gl.RED, gl.UNSIGNED_BYTE, mask);
            draw(x / width, y / height, side / width, side / height);
        }
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        times.push(performance.now() - began);
    }
    return times.sort((one, other) => one - other)[rounds >> 1];
}"""
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
    Object.assign(window, { bitmap, objects });
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
            rows[slowdown]["gray with WebGL2"] = page.evaluate(PAINT_WEBGL, args.rounds)
        browser.close()
    print(f"{platform.machine()}, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; median ms of a frame\n")
    print(f"| effect | full speed | slowed down {args.slowdown:g} times |\n|---|---|---|")
    for effect, ms in rows[1.0].items():
        print(f"| {effect} | {ms:.1f} | {rows[args.slowdown][effect]:.1f} |")


if __name__ == "__main__":
    main()
