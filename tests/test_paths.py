import os
import tempfile
from pathlib import Path

import pytest

from streamseg.paths import (
    MAX_SOCKET_NAME,
    cache_directory,
    default_control_endpoint,
    default_folder_is_ours,
    make_default_folder,
    runtime_parent,
    socket_endpoint,
    sockets_parent,
)
from streamseg.protocol.topics import MAX_IPC_PATH


@pytest.fixture
def shallow():
    """A folder whose sockets have short enough addresses, which those of tmp_path may not have."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


def test_the_cache_is_where_the_specification_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_directory() == Path("/somewhere/streamseg")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_directory() == Path("/home/me/.cache/streamseg")


def test_a_writable_folder_is_taken(shallow, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", shallow)
    assert runtime_parent() == shallow


@pytest.mark.parametrize("value", ["", "absent", "file"])
def test_an_unusable_folder_gives_the_default(tmp_path, monkeypatch, value):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / value) if value else "")
    assert runtime_parent() is None


def test_an_unset_variable_gives_the_default(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert runtime_parent() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_others_gives_the_default(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_parent() is None


def test_a_folder_too_deep_for_sockets_is_passed_over(shallow, monkeypatch):
    longest = len("/streamseg-demo-xxxxxxxx/") + MAX_SOCKET_NAME
    deep = Path(shallow, "d" * (MAX_IPC_PATH - len(shallow) - len("/") - longest))
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert runtime_parent() == sockets_parent() == str(deep)
    deeper = deep.rename(f"{deep}d")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deeper))
    assert runtime_parent() is None
    monkeypatch.setattr("tempfile.tempdir", str(deeper))
    assert sockets_parent() == "/tmp"
    assert default_control_endpoint() == f"ipc:///tmp/streamseg-{os.geteuid()}/control"


def test_a_socket_s_name_has_a_limit(tmp_path):
    assert socket_endpoint(tmp_path, "n" * MAX_SOCKET_NAME) == f"ipc://{tmp_path}/{'n' * MAX_SOCKET_NAME}"
    with pytest.raises(ValueError, match="longer than"):
        socket_endpoint(tmp_path, "n" * (MAX_SOCKET_NAME + 1))


def test_the_control_address_is_the_same_for_daemon_and_client(shallow, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", shallow)
    assert default_control_endpoint() == f"ipc://{shallow}/streamseg-control"
    assert make_default_folder()
    assert default_folder_is_ours()


def test_without_a_runtime_folder_it_lies_in_one_of_our_own(shallow, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", shallow)
    folder = Path(shallow) / f"streamseg-{os.geteuid()}"
    assert default_control_endpoint() == f"ipc://{folder}/control"
    assert default_folder_is_ours()  # it does not exist yet
    assert make_default_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert not default_folder_is_ours()
    assert not make_default_folder()
    folder.rmdir()
    folder.symlink_to(shallow)
    assert not default_folder_is_ours()
