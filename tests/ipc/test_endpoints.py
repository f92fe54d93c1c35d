"""Binding: clear errors, and no address is taken from another daemon."""

from __future__ import annotations

import socket as net
import stat
import subprocess
import sys

import pytest
import zmq

from streamseg.errors import ConfigError
from streamseg.ipc.endpoints import PathClaim, bind, remove_stale_socket


@pytest.fixture
def sockets():
    """Make sockets; closed at the end of the test."""
    with zmq.Context() as context:
        made = []

        def make():
            made.append(context.socket(zmq.PUB))
            return made[-1]

        yield make
        for socket in made:
            socket.close(linger=0)


def test_ipc_is_for_user_and_group_and_leaves_nothing(sockets, tmp_path):
    socket = sockets()
    address, claim = bind(socket, f"ipc://{tmp_path}/pub", "publish.endpoints")
    assert address == f"ipc://{tmp_path}/pub"
    assert stat.S_IMODE((tmp_path / "pub").stat().st_mode) & 0o007 == 0
    socket.close()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_use_is_refused(sockets, tmp_path):
    _, claim = bind(sockets(), f"ipc://{tmp_path}/pub", "publish.endpoints")
    inode = (tmp_path / "pub").stat().st_ino
    with pytest.raises(ConfigError, match=r"publish\.endpoints: 'ipc://.*/pub' cannot be bound: another program"):
        bind(sockets(), f"ipc://{tmp_path}/pub", "publish.endpoints")
    assert (tmp_path / "pub").stat().st_ino == inode
    claim.release()


def test_what_a_killed_process_left_is_taken_over(sockets, tmp_path):
    code = (
        "import os, sys, zmq; from streamseg.ipc.endpoints import bind;"
        "s = zmq.Context().socket(zmq.PUB); bind(s, sys.argv[1], 'x'); os.kill(os.getpid(), 9)"
    )
    endpoint = f"ipc://{tmp_path}/pub"
    assert subprocess.run([sys.executable, "-c", code, endpoint], timeout=60, check=False).returncode == -9
    assert {path.name for path in tmp_path.iterdir()} == {"pub", "pub.lock"}
    socket = sockets()
    _, claim = bind(socket, endpoint, "publish.endpoints")
    socket.close()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_dead_owner_left_behind_is_removed(sockets, tmp_path):
    endpoint = f"ipc://{tmp_path}/pub"
    socket = sockets()
    _, claim = bind(socket, endpoint, "publish.endpoints")
    remove_stale_socket(endpoint)
    remove_stale_socket("tcp://127.0.0.1:5555")
    assert {path.name for path in tmp_path.iterdir()} == {"pub", "pub.lock"}
    socket.unbind(endpoint)
    claim.release()
    code = (
        "import os, signal, sys, zmq; from streamseg.ipc.endpoints import bind;"
        "bind(zmq.Context().socket(zmq.PUB), sys.argv[1], 'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, endpoint], timeout=60, check=False).returncode == -9
    assert {path.name for path in tmp_path.iterdir()} == {"pub", "pub.lock"}
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "thesis.lock").touch()
    (tmp_path / "early.lock").touch()  # its owner was killed before it made the socket
    remove_stale_socket(f"ipc://{tmp_path}/early")
    remove_stale_socket(f"ipc://{tmp_path}/no folder/pub")
    remove_stale_socket(endpoint)
    remove_stale_socket(f"ipc://{tmp_path}/thesis")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "thesis.lock"}


def test_a_lock_file_that_was_removed_meanwhile_does_not_count(tmp_path):
    first = PathClaim(tmp_path / "pub")
    (tmp_path / "pub.lock").unlink()
    second = PathClaim(tmp_path / "pub")  # another inode: the path is free again
    with pytest.raises(BlockingIOError):
        PathClaim(tmp_path / "pub")
    second.release()
    first.release()


def test_a_file_that_is_not_a_socket_survives(sockets, tmp_path):
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    with pytest.raises(ConfigError, match="not a socket"):
        bind(sockets(), f"ipc://{precious}", "publish.endpoints")
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("ipc://relative/path", "not absolute"),
        ("ipc:///tmp/" + "x" * 200, "longer than 107 bytes"),
        ("ipc:///no/such/folder/pub", "directory does not exist"),
        ("tcp://203.0.113.7:5555", "no network interface"),
        ("udp://127.0.0.1:5555", "tcp://HOST:PORT"),
        ("5555", "tcp://HOST:PORT"),
    ],
)
def test_refusals_name_the_setting_the_value_and_the_fix(sockets, endpoint, reason):
    with pytest.raises(ConfigError, match=r"publish\.endpoints: .* cannot be bound") as refused:
        bind(sockets(), endpoint, "publish.endpoints")
    assert repr(endpoint) in str(refused.value)
    assert reason in str(refused.value)


def test_a_taken_port_is_reported_clearly(sockets):
    with net.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="another program listens there"):
            bind(sockets(), f"tcp://127.0.0.1:{taken.getsockname()[1]}", "publish.endpoints")


def test_a_free_port_is_reported(sockets):
    address, claim = bind(sockets(), "tcp://127.0.0.1:*", "publish.endpoints")
    assert claim is None
    assert address.startswith("tcp://127.0.0.1:")
    assert int(address.rpartition(":")[2]) > 0
