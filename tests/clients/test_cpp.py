"""The C++ header: builds without warnings, reads the test vectors, and receives from a daemon."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import pytest

from tests.client.conftest import Outlet
from tests.clients.conftest import (
    READ_ARGUMENTS,
    assert_reads_vectors,
    build,
    receive_from_late_publisher,
    run,
    send_wrong_messages_then_masks,
)
from tests.e2e.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow  # a compiler's run each


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Path(__file__).with_name("read_vectors.cpp"), tmp_path_factory.mktemp("cpp"))


def test_reader_decodes_the_vectors(reader: Path) -> None:
    assert_reads_vectors(run(reader, *READ_ARGUMENTS))


def test_signals_and_wrong_messages_do_not_end_it(reader: Path, tmp_path: Path) -> None:
    outlet = Outlet(tmp_path)
    try:
        with subprocess.Popen([reader, "--receive", outlet.endpoint], stdout=subprocess.PIPE, text=True) as program:
            try:
                assert program.stdout is not None
                assert program.stdout.readline() == "waiting\n"
                wrong = send_wrong_messages_then_masks(outlet, 7)
                assert program.communicate(timeout=30)[0] == f"cam1 7 {wrong}\n"
            finally:
                program.kill()
    finally:
        outlet.close()


def test_the_example_writes_the_masks_of_a_daemon(daemon: DaemonProcess, write_pgm: Path, tmp_path: Path) -> None:
    file = tmp_path / "masks.pgm"
    said = run(write_pgm, file, daemon.endpoint, timeout_s=60)
    area = re.search(r"^1 cup tracked (\d+)$", said, re.MULTILINE)
    assert area, said
    labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert (labels.shape, labels.dtype) == ((180, 320), "uint16")
    assert set(labels.flat) == {0, 1}
    assert (labels == 1).sum() == int(area[1])


def test_it_waits_for_a_publisher_that_comes_later(write_pgm: Path, tmp_path: Path) -> None:
    command = [write_pgm, tmp_path / "masks.pgm", f"ipc://{tmp_path}/pub", "cam1"]
    said = receive_from_late_publisher(*command, folder=tmp_path)
    assert said.startswith("cam1 frame 7 in ")
