"""Run the real `streamseg` executable, and read what it prints."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXECUTABLE = Path(sys.executable).with_name("streamseg")
COMMAND = [str(EXECUTABLE)] if EXECUTABLE.exists() else [sys.executable, "-m", "streamseg"]


class Streamseg:
    """Runs `streamseg` in a folder of its own."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = {**os.environ, "COLUMNS": "140", "NO_COLOR": "1", **environment}

    def __call__(self, *arguments, timeout_s=120):
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def start(self, *arguments, **pipes):
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **pipes,
        )


def read_until(process, pipe, words, timeout_s=180):
    """Read a process's lines until one holds ``words``."""
    deadline = time.monotonic() + timeout_s
    text = ""
    while words not in text:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(pipe.fileno(), 65536).decode() if ready else ""
        if not piece:
            process.kill()
            pytest.fail(f"{words!r} did not come within {timeout_s} s, but:\n{text}")
        text += piece
    return text
