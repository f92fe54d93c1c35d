"""Every example runs against a real daemon and does what its first line says."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader

from tests.e2e.daemon_process import DISC, DaemonProcess

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that tracks a disc in a generated scene by its color."""
    running = DaemonProcess(DISC, tmp_path_factory.mktemp("daemon"))
    running.wait_log("ready: masks at")
    yield running
    running.close()


class Example:
    """A running example and what it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self, pattern: str) -> re.Match[str]:
        """Return the next line that matches."""
        with contextlib.suppress(queue.Empty):
            while True:
                if found := re.search(pattern, self._lines.get(timeout=TIMEOUT_S)):
                    return found
        raise AssertionError(f"no line with {pattern!r}")

    def end(self) -> int:
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code


@contextlib.contextmanager
def example(name: str, *args: str) -> Iterator[Example]:
    with subprocess.Popen([sys.executable, str(EXAMPLES / name), *args], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Example(process)
        finally:
            process.kill()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_every_client_in_an_example_can_present_a_key(file: Path):
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    clients = [call for call in calls if re.search(r"(Subscriber|Controller|Listener)$", ast.unparse(call.func))]
    assert [ast.unparse(call) for call in clients if "key_file" not in {each.arg for each in call.keywords}] == []


def test_subscribe(daemon: DaemonProcess):
    with example("subscribe.py", daemon.endpoint) as running:
        first, second = (running.line(r"^cam frame (\d+): cup is tracked, (\d+) of 57600 pixels") for _ in range(2))
        assert int(second[1]) > int(first[1])
        assert int(first[2]) > 0


def test_async_subscribe(daemon: DaemonProcess):
    with example("async_subscribe.py", daemon.endpoint, daemon.control) as running:
        running.line(r"^streamseg \S+ with echo: cam$")
        areas = running.line(r"^cam \d+: \{1: (\d+).*\}, \d+ ms old$")
        assert int(areas[1]) > 0


def test_click(daemon: DaemonProcess):
    place = ["--endpoint", daemon.endpoint, "--control", daemon.control]
    with example("click.py", "cam", "0.3", "0.6", "--label", "plate", *place) as running:
        clicked = running.line(r"^object (\d+): (\d+) pixels on frame \d+")
        assert int(clicked[1]) > 1
        assert int(clicked[2]) > 0
        running.line(r"^frame \d+: tracked at")
        assert running.end() == 0


@pytest.mark.parametrize("name", ["opencv_view.py", "supervision_view.py"])
def test_views(daemon: DaemonProcess, tmp_path: Path, name: str):
    if name.startswith("supervision") and importlib.util.find_spec("supervision") is None:
        pytest.skip("needs the package supervision")
    file = tmp_path / "view.png"
    with example(name, daemon.endpoint, "--out", str(file)) as running:
        assert running.end() == 0
    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.shape == (180, 320, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def need_package(name: str, distribution: str) -> None:
    """Skip without a package that is too large for every checkout; `.ci/long` has it, and requires it."""
    if importlib.util.find_spec(name) is None:
        if os.environ.get("STREAMSEG_REQUIRE_VIEWERS") == "1":
            pytest.fail(f"{distribution} is required here and is not installed")
        pytest.skip(f"needs the package {distribution}")


def test_rerun_file(daemon: DaemonProcess, tmp_path: Path):
    need_package("rerun", "rerun-sdk")
    file = tmp_path / "masks.rrd"
    with example("rerun_log.py", daemon.endpoint, "--out", str(file), "--frames", "3") as running:
        assert running.end() == 0
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}  # keeps its settings out of the home folder
    read = [sys.executable, "-m", "rerun", "rrd"]
    subprocess.run([*read, "verify", str(file)], check=True, env=environment, capture_output=True, timeout=TIMEOUT_S)
    said = subprocess.run(
        [*read, "stats", str(file)], check=True, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    ).stdout
    for entity in ("/cam", "/cam/masks", "/cam/picture", "/cam/area/1"):
        assert f"\n{entity}: " in said, said


def test_mcap_for_foxglove(daemon: DaemonProcess, tmp_path: Path):
    need_package("foxglove", "foxglove-sdk")
    file = tmp_path / "masks.mcap"
    with example("mcap_foxglove.py", daemon.endpoint, "--out", str(file), "--frames", "3") as running:
        assert running.end() == 0
    found: dict[str, list[int]] = {}
    with file.open("rb") as opened:
        for schema, channel, message in make_reader(opened).iter_messages():
            assert schema is not None
            found.setdefault(f"{channel.topic} {schema.name}", []).append(message.log_time)
            if channel.topic == "/cam/picture":
                begin = message.data.index(b"\xff\xd8")
                picture = cv2.imdecode(np.frombuffer(message.data[begin:], np.uint8), cv2.IMREAD_COLOR)
                assert picture.shape == (180, 320, 3)
            if channel.topic == "/cam/outlines":
                assert b"cup" in message.data
    assert set(found) == {
        "/cam/picture foxglove.CompressedImage",
        "/cam/labels foxglove.RawImage",
        "/cam/outlines foxglove.ImageAnnotations",
    }
    assert len({tuple(times) for times in found.values()}) == 1  # the same three camera times in each
