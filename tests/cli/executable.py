"""Run the real `streamseg` executable, or its commands in this process, and read what they print."""

import contextlib
import io
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamseg.cli.app import main

EXECUTABLE = Path(sys.executable).with_name("streamseg")
COMMAND = [str(EXECUTABLE)] if EXECUTABLE.exists() else [sys.executable, "-m", "streamseg"]


class Streamseg:
    """Runs `streamseg` in a folder of its own."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.own = {"COLUMNS": "140", "NO_COLOR": "1", **environment}
        self.environment = {**os.environ, **self.own}

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


class CommandLine(Streamseg):
    """Runs commands in this process, which takes a tenth of the CPU time; `apart` runs one in a process of its own."""

    def __call__(self, *arguments):
        out, errors = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            patch.chdir(self.folder)
            for name, value in self.own.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["streamseg", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
        return subprocess.CompletedProcess(arguments, end.value.code or 0, out.getvalue(), errors.getvalue())

    def apart(self, *arguments):
        return super().__call__(*arguments)


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
