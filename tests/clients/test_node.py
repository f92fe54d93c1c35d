"""The Node package: installs, has sound types, reads the test vectors, and receives from a daemon."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import pytest

from streamseg.protocol.palette import PALETTE, color_of
from tests.client.conftest import Outlet
from tests.clients.conftest import (
    NODE,
    READ_ARGUMENTS,
    ROOT,
    assert_reads_vectors,
    receive_from_late_publisher,
    run,
    send_wrong_messages_then_masks,
)
from tests.e2e.daemon_process import DaemonProcess

PAGE_CODEC = ROOT / "streamseg" / "web" / "static" / "mask_codec.js"
READER = Path(__file__).with_name("read_vectors.mjs")
RECEIVE = """
import { Subscriber } from "./index.js";
const subscriber = new Subscriber(process.argv[2]);
for await (const message of subscriber) {
  console.log(message.stream, message.header.frame, subscriber.malformed);
  subscriber.close();
}
"""
TYPED = """
import { Subscriber, labelMap, maskOf } from "./index.js";
const subscriber = new Subscriber("tcp://127.0.0.1:5555", { streams: ["cam"], kinds: ["masks", "events"] });
for await (const message of subscriber) {
  if (message.kind === "masks") {
    const ids: Uint32Array = labelMap(message);
    const areas: number[] = message.header.objects.map((object) => maskOf(message, object).length);
    console.log(ids.length, areas, message.gap);
  }
}
"""


def test_the_page_and_the_package_decode_with_the_same_code() -> None:
    assert (NODE / "mask_codec.js").read_bytes() == PAGE_CODEC.read_bytes()


@pytest.mark.slow
def test_reader_decodes_the_vectors(package: Path) -> None:
    assert_reads_vectors(run("node", READER, package / "index.js", *READ_ARGUMENTS))


@pytest.mark.slow
def test_the_types_are_sound(package: Path) -> None:
    (package / "typed.ts").write_text(TYPED)
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"]
    run(package / "node_modules" / ".bin" / "tsc", *options, "typed.ts", cwd=package)


@pytest.mark.slow
def test_the_example_writes_the_masks_of_a_daemon(daemon: DaemonProcess, package: Path, tmp_path: Path) -> None:
    file = tmp_path / "masks.png"
    said = run("node", "examples/write_png.js", file, daemon.endpoint, cwd=package, timeout_s=60)
    area = re.search(r"^1 cup tracked (\d+)$", said, re.MULTILINE)
    assert area, said
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (180, 320, 4)
    assert (picture[..., 3] == 255).sum() == int(area[1])
    assert {tuple(pixel) for pixel in picture[picture[..., 3] == 255][:, 2::-1].tolist()} == {color_of(1)}


def test_the_example_has_the_colors_of_the_page() -> None:
    found = re.findall(r"\b[0-9a-f]{6}\b", (NODE / "examples/write_png.js").read_text())
    assert [tuple(bytes.fromhex(color)) for color in found] == list(PALETTE)


@pytest.mark.slow
def test_it_waits_for_a_publisher_that_comes_later(package: Path, tmp_path: Path) -> None:
    command = ["node", "examples/write_png.js", tmp_path / "m.png", f"ipc://{tmp_path}/pub", "cam1"]
    said = receive_from_late_publisher(*command, folder=tmp_path, cwd=package)
    assert said.startswith("cam1 frame 7 in ")


@pytest.mark.slow
def test_wrong_messages_do_not_end_it(package: Path, tmp_path: Path) -> None:
    (package / "receive.mjs").write_text(RECEIVE)
    outlet = Outlet(tmp_path)
    command = ["node", "receive.mjs", outlet.endpoint]
    try:
        with subprocess.Popen(command, cwd=package, stdout=subprocess.PIPE, text=True) as program:
            try:
                wrong = send_wrong_messages_then_masks(outlet, 7)
                assert program.communicate(timeout=30)[0] == f"cam1 7 {wrong}\n"
            finally:
                program.kill()
    finally:
        outlet.close()
