"""Real processes hold folders and are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamseg.common.locked_folder import LockedFolder, locked_folder, remove_leftovers

HOLDER = """
import sys
from streamseg.common.locked_folder import LockedFolder
folder = LockedFolder(sys.argv[1], "run-")
(folder.path / "socket").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_killed_process_s_folder_is_removed_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    with process:
        assert remove_leftovers(tmp_path, "run-") == []
        assert (folder / "socket").exists()
        process.kill()
        process.wait(10)
        with locked_folder(tmp_path, "run-") as mine:
            assert not folder.exists()
            assert mine.stat().st_mode & 0o777 == 0o700
            assert remove_leftovers(tmp_path, "run-") == []  # not even by the process that holds it
        assert not mine.exists()


def test_what_is_not_such_a_folder_stays(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / "run-link").symlink_to(target)
    (tmp_path / "run-file").touch()
    (tmp_path / "other").mkdir()
    assert remove_leftovers(tmp_path, "run-") == []
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "run-link", "run-file", "other"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_s_folder_stays(tmp_path: Path) -> None:
    folder = LockedFolder(tmp_path, "run-")
    os.chown(folder.path, 12345, 12345)
    os.close(folder._lock)
    assert remove_leftovers(tmp_path, "run-") == []
    assert folder.path.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LockedFolder(tmp_path / "absent", "run-")
