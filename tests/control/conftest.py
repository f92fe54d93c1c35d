"""Control processes that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.control.control_children import ControlProcess


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Callable[..., ControlProcess]]:
    """Start control processes."""
    started: list[ControlProcess] = []

    def start(**settings: object) -> ControlProcess:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(ControlProcess(folder, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()
