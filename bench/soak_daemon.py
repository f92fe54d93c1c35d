"""The daemon of a soak: `streamseg run` with a page, kept state and all sockets in a folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass
class SoakDaemon:
    """A running daemon.

    Attributes:
        process: The supervisor.
        masks: Address of the masks.
        control: Address for requests.
        page: Address of the page.
        log: File with its log.
    """

    process: psutil.Process
    masks: str
    control: str
    page: str
    log: Path

    def get(self, path: str, timeout_s: float = 10.0) -> bytes:
        """Return what the page's address answers."""
        with urllib.request.urlopen(self.page + path, timeout=timeout_s) as response:
            return bytes(response.read())

    def ready(self) -> bool:
        """Whether the daemon says that it works."""
        try:
            self.get("readyz")
        except (OSError, urllib.error.HTTPError):
            return False
        return True


@contextmanager
def soak_daemon(settings: dict[str, Any], folder: Path, start_timeout_s: float) -> Iterator[SoakDaemon]:
    """Run a daemon.

    Args:
        settings: ``streams``, ``model`` and others; sockets, page and state are added.
        folder: A short path for sockets, state and log.
        start_timeout_s: Time until it is ready, compilation included.

    Raises:
        TimeoutError: It was not ready in time.
    """
    port = free_port()
    own = {
        "publish": {"endpoints": [f"ipc://{folder}/masks"]},
        "control": {"endpoint": f"ipc://{folder}/control"},
        "http": {"listen": f"127.0.0.1:{port}"},
        "state": {"path": str(folder / "state")},
        "log": {"level": "info"},
    }
    config = folder / "soak.yaml"
    config.write_text(json.dumps(settings | own))  # JSON is YAML
    log = folder / "log"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamseg", "run", str(config)], stderr=stderr, env=environment
        )
        daemon = SoakDaemon(
            psutil.Process(process.pid), f"ipc://{folder}/masks", f"ipc://{folder}/control",
            f"http://127.0.0.1:{port}/", log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + start_timeout_s
            while not daemon.ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"the daemon was not ready within {start_timeout_s:g} s:\n{log.read_text()}")
                time.sleep(0.1)
            yield daemon
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
