"""A daemon for clients in other languages, and the expected results of the test vectors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamseg.client.assembly import assemble
from streamseg.client.results import ImageFrame, MaskFrame, ObjectsFrame
from tests.client.conftest import Messages, Outlet
from tests.e2e.daemon_process import DISC, DaemonProcess
from tests.made_once import SharedFolders
from tests.protocol import golden_messages, mask_vectors

ROOT = Path(__file__).parents[2]
CPP = ROOT / "clients" / "cpp"
NODE = ROOT / "clients" / "node"
GOLDEN = [str(path) for path in sorted(golden_messages.FOLDER.glob("*.bin"))]
READ_ARGUMENTS = [str(mask_vectors.FILE), *GOLDEN]


def need(program: str) -> None:
    """Skip without a program; fail where it is required, as in CI."""
    if shutil.which(program) is None:
        if os.environ.get("STREAMSEG_REQUIRE_CLIENTS"):
            pytest.fail(f"{program} is required here and is not installed")
        pytest.skip(f"needs {program}")


def run(*command: str | Path, cwd: Path | None = None, timeout_s: float = 300) -> str:
    """Run a command and return its output."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def expected() -> list[dict[str, Any]]:
    """What a reader of the vectors and golden messages has to print."""
    kept = ("name", "area", "index_sum")
    found = [{key: vector[key] for key in kept if key in vector} for vector in mask_vectors.vectors()]
    for file in GOLDEN:
        message = assemble(golden_messages.read(Path(file).stem))
        result: dict[str, Any] = {"stream": message.stream, "kind": message.kind, "objects": []}
        if isinstance(message, ImageFrame):
            result["jpeg"] = len(message.jpeg)
        if isinstance(message, MaskFrame | ObjectsFrame):
            for obj in message.objects:
                seen = getattr(obj, "encoding", "none") == "coco_rle"
                result["objects"].append(
                    {"id": obj.id, "label": obj.label, **(mask_vectors.summary(obj.mask) if seen else {})}
                )
        found.append(result)
    return found


def assert_reads_vectors(printed: str) -> None:
    for found, wanted in zip(json.loads(printed), expected(), strict=True):
        assert found == wanted


STATUS = b"v1/_daemon/status/"
MASKS = b"v1/cam1/masks/"
WRONG_STATUSES = [b"null", b"7", b"[]", b"{"]
WRONG_STREAMS = [{"a": 1}, None, 7, "../x", "a/b", "", "Cam", "a" * 65]
WRONG_MASKS = [b"\xff", b"null", b"[1]", b'"x"', b"{}", b'{"seq": "x"}', b'{"session": 1, "seq": 0}']


def send_wrong_messages_then_masks(outlet: Outlet, frame: int) -> int:
    """Announce a stream, once it is subscribed send masks of a frame, and before each what violates the protocol.

    Returns:
        The number of wrong messages.
    """
    golden = Messages()
    outlet.wait(b"\x01" + STATUS)
    outlet.send(*([STATUS, header] for header in WRONG_STATUSES))
    outlet.send(golden("daemon_status", streams=[*WRONG_STREAMS, "cam1"]))
    outlet.wait(b"\x01" + MASKS)
    outlet.send(*([MASKS, header] for header in WRONG_MASKS), golden.masks(frame))
    assert not [name for name in outlet.taken() if b"x" in name or b"Cam" in name or b"a/b" in name]
    return len(WRONG_STATUSES) + len(WRONG_MASKS)


def receive_from_late_publisher(*command: str | Path, folder: Path, cwd: Path | None = None) -> str:
    """Start a program, then its publisher, as after a restart of the daemon: a wrong message and masks of frame 7.

    Args:
        command: The program, which subscribes to the masks of ``cam1`` at ``ipc://FOLDER/pub``.
        folder: Where the publisher is.
        cwd: Where the program runs.

    Returns:
        What the program printed.
    """
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as program:
        outlet = Outlet(folder)
        try:
            outlet.wait(b"\x01" + MASKS)
            outlet.send([MASKS, b"\xff"], Messages().masks(7))
            return program.communicate(timeout=30)[0]
        finally:
            program.kill()
            outlet.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that tracks a disc by its color."""
    running = DaemonProcess(DISC, tmp_path_factory.mktemp("daemon"))
    running.wait_log("ready: masks at")
    yield running
    running.close()


def build(source: Path, folder: Path) -> Path:
    need("g++")
    if not (Path("/usr/include/zmq.hpp").exists() and Path("/usr/include/nlohmann/json.hpp").exists()):
        if os.environ.get("STREAMSEG_REQUIRE_CLIENTS"):
            pytest.fail("cppzmq-dev and nlohmann-json3-dev are required here")
        pytest.skip("needs the Debian packages cppzmq-dev and nlohmann-json3-dev")
    program = folder / source.stem
    run("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", CPP, source, "-o", program, "-lzmq")
    return program


@pytest.fixture(scope="session")
def write_pgm(shared_folders: SharedFolders) -> Path:
    source = CPP / "write_pgm.cpp"
    return shared_folders.filled("write_pgm", lambda folder: build(source, folder)) / source.stem


@pytest.fixture(scope="module")
def package(shared_folders: SharedFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node package, with what it depends on: installed once. Do not write to its `node_modules`."""
    need("npm")

    def install(folder: Path) -> None:
        shutil.copy(NODE / "package.json", folder)
        run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", cwd=folder)

    installed = shared_folders.filled("node", install)
    folder = tmp_path_factory.mktemp("node") / "streamseg"
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(installed / "node_modules")
    return folder
