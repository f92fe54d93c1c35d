import os

import pytest

from streamseg.runtime_dir import runtime_parent


def test_a_writable_folder_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_parent() == str(tmp_path)


@pytest.mark.parametrize("value", ["", "absent", "file"])
def test_anything_else_gives_the_default(tmp_path, monkeypatch, value):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / value) if value else "")
    assert runtime_parent() is None


def test_unset_gives_the_default(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert runtime_parent() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_others_gives_the_default(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_parent() is None
