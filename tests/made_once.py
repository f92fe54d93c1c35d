"""Folders that are expensive to fill, shared by all test processes of a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


class SharedFolders:
    """Folders under a name, each filled by the first test that asks for it. Others wait until it is done.

    Args:
        parent: Holds them; the same for all processes of the run.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    def filled(self, name: str, fill: Callable[[Path], object]) -> Path:
        """Return a folder, which may only be read. ``fill`` gets an empty one, under another path."""
        folder = self._parent / name
        with (self._parent / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                made = self._parent / f"{name}.{os.getpid()}"
                made.mkdir()
                fill(made)
                made.rename(folder)
        return folder


@pytest.fixture(scope="session")
def shared_folders(tmp_path_factory: pytest.TempPathFactory) -> SharedFolders:
    """Those of this run, in the folder that its processes share."""
    own = tmp_path_factory.getbasetemp()
    parent = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    parent.mkdir(exist_ok=True)
    return SharedFolders(parent)
