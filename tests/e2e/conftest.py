"""Daemons that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon_process import DaemonProcess


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Start daemons; those that a test leaves running are killed."""
    started: list[DaemonProcess] = []

    def start(config: dict[str, object], *extra: str) -> DaemonProcess:
        folder = tmp_path / f"daemon{len(started)}"
        folder.mkdir()
        started.append(DaemonProcess(config, folder, extra))
        return started[-1]

    yield start
    for one in started:
        one.close()
