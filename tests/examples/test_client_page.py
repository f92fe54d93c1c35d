"""The programs of docs/client.md run as written, against a real daemon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import streamseg.client
from tests.e2e.daemon_process import DISC, DaemonProcess

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_every_class_is_described() -> None:
    assert [name for name in streamseg.client.__all__ if f"`{name}`" not in TEXT] == []


def test_programs_of_the_page_run(tmp_path: Path) -> None:
    daemon = DaemonProcess(DISC, tmp_path)
    try:
        daemon.wait_log("ready: masks at")
        # One process for all: starting Python eight times is what would take long.
        whole = "\n".join(f"print('--- {number}')\n{program}" for number, program in enumerate(PROGRAMS))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", whole.replace("tcp://127.0.0.1:5555", daemon.endpoint)],
            env={**os.environ, "XDG_RUNTIME_DIR": str(daemon.runtime)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        daemon.close()
    assert done.returncode == 0, done.stderr
    said = dict(re.findall(r"--- (\d+)\n(.*?)(?=--- |\Z)", done.stdout, re.DOTALL))
    assert len(said) == len(PROGRAMS) == 8
    assert re.search(r"^cam \d+ 1 cup tracked [1-9]\d*$", said["0"], re.MULTILINE)
    assert re.search(r"^cam streaming \d", said["1"], re.MULTILINE)
    assert "the daemon has no stream 'no-such-stream'; streams: cam" in said["2"]
    assert "(180, 320, 3)" in said["3"]
    assert re.search(r"^cam \d+ -?\d+ ms old$", said["4"], re.MULTILINE)
    assert "cam ['cup']" in said["5"]
    assert re.search(r"^\(180, 320\) 1$", said["6"], re.MULTILINE)
    assert "OBJECT_NOT_FOUND" in said["7"]
