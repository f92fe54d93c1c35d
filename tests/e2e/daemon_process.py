"""A real daemon in a process of its own, and how to wait for what it does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psutil
import pytest
import yaml

DISC: Final[dict[str, object]] = {
    "streams": {
        "cam": {
            "source": "scene:simple?size=320x180",
            "prompts": [{"object": 1, "label": "cup", "points": [[0.5, 0.5]], "coords": "normalized"}],
        }
    },
    "model": {"name": "echo"},
}
"""A configuration: a disc in a generated scene, tracked by its color as object 1, `cup`."""


class DaemonProcess:
    """`streamseg run` on a configuration, with its log."""

    def __init__(self, config: dict[str, object], folder: Path, extra: Sequence[str] = ()) -> None:
        self.endpoint = f"ipc://{folder}/pub"
        config = {"publish": {}, "log": {"level": "debug"}, **config}
        config["publish"] = {"endpoints": [self.endpoint], **config["publish"]}  # type: ignore[dict-item]
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        # Not in `folder`: sockets' paths have to be short, and those of tests that run side by side are not.
        self.runtime = Path(tempfile.mkdtemp(prefix="streamseg-test-"))
        self.control = f"ipc://{self.runtime}/streamseg-control"
        self.file = file
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamseg", "run", str(file), *extra],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)},
        )
        self.lines: list[str] = []
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def child(self, name: str) -> psutil.Process:
        """The child that the supervisor calls ``name``."""
        wait_for(lambda: self.children(name), 60, f"a child named {name}\n{self.log}")
        return self.children(name)[0]

    def children(self, name: str) -> list[psutil.Process]:
        """All running children that the supervisor calls ``name``; empty while one is replaced."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.name() == name[:15] and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def wait_log(self, pattern: str, timeout_s: float = 180) -> None:
        wait_for(lambda: re.search(pattern, self.log) is not None, timeout_s, f"{pattern!r} in\n{self.log}", self.alive)

    def alive(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 20) -> int:
        if self.alive():
            self.process.send_signal(number)
        code = self.process.wait(timeout=timeout_s)
        self._drain.join(timeout=5)
        return code

    def close(self) -> None:
        """Kill what is left."""
        if self.alive():
            for process in self.family():
                process.kill()
            self.process.wait(timeout=10)
        self._drain.join(timeout=5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        shutil.rmtree(self.runtime, ignore_errors=True)


def wait_for(
    condition: Callable[[], object], timeout_s: float, what: str, while_true: Callable[[], bool] = lambda: True
) -> None:
    """Poll an observable condition until a deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline or not while_true():
            if condition():
                return
            pytest.fail(f"not seen within {timeout_s} s: {what}")
        time.sleep(0.02)
