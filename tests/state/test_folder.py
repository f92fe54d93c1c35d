"""A private folder of files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamseg.errors import StateError
from streamseg.state.folder import StateFolder


@pytest.mark.parametrize("durable", [False, True])
def test_files_are_private_and_replaced_as_a_whole(tmp_path: Path, durable: bool) -> None:
    folder = StateFolder(tmp_path / "a" / "state", durable=durable)
    assert folder.read_stream("cam", 100) is None
    folder.write_stream("cam", b"one")
    folder.write_stream("cam", b"two")
    assert folder.read_stream("cam", 100) == b"two"
    assert [*folder.streams()] == ["cam"]
    assert (folder.path.stat().st_mode & 0o777, (folder.path / "cam.stream").stat().st_mode & 0o777) == (0o700, 0o600)
    assert [file.name for file in folder.path.iterdir()] == ["cam.stream"]
    folder.remove_stream("cam")
    folder.remove_stream("cam")
    assert folder.streams() == {}


def test_files_that_others_may_write_are_not_read(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    folder.write_stream("cam", b"one")
    (folder.path / "cam.stream").chmod(0o666)
    with pytest.raises(StateError, match="others may write to it"):
        folder.read_stream("cam", 100)
    folder.path.chmod(0o777)
    with pytest.raises(StateError, match="others may write to it"):
        folder.write_stream("cam", b"two")


def test_links_and_large_files_are_not_read(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    folder.write_stream("cam", b"12345")
    with pytest.raises(StateError, match="more than 4 bytes"):
        folder.read_stream("cam", 4)
    (folder.path / "linked.stream").symlink_to(folder.path / "cam.stream")
    with pytest.raises(StateError, match="cannot be read"):
        folder.read_stream("linked", 100)


def test_it_is_cleared_with_what_was_left_half_written(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", durable=False)
    assert folder.clear() == 0
    folder.write_stream("cam", b"one")
    (folder.path / ".cam.stream.0123abcd").write_bytes(b"half")
    (folder.path / ".daemon.json.4567cdef").write_bytes(b"half")
    folder.remove_leftovers(of_streams=True)
    assert sorted(file.name for file in folder.path.iterdir()) == [".daemon.json.4567cdef", "cam.stream"]
    folder.remove_leftovers()
    assert [file.name for file in folder.path.iterdir()] == ["cam.stream"]
    assert folder.clear() == 1
    assert not folder.path.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        StateFolder(tmp_path / "file" / "state", durable=False).write_stream("cam", b"one")
