"""Single connections of a socket."""

from __future__ import annotations

import os
import socket

import pytest

from streamseg.security.connections import is_open, shut_down
from tests.security.descriptors import no_descriptors_left


@pytest.mark.parametrize("full", [False, True])
def test_a_connection_is_shut_down_and_its_descriptor_stays(full):
    ours, other = socket.socketpair()
    with ours, other:
        connection = ours.fileno(), os.fstat(ours.fileno()).st_ino
        assert not shut_down((connection[0], connection[1] + 1))
        if full:
            with no_descriptors_left():
                assert shut_down(connection)
        else:
            assert shut_down(connection)
        assert other.recv(1) == b""
        assert is_open(connection)  # until libzmq closes it


def test_closed_and_other_descriptors_are_not_shut_down(tmp_path):
    ours, other = socket.socketpair()
    connection = ours.fileno(), os.fstat(ours.fileno()).st_ino
    ours.close()
    other.close()
    assert not shut_down(connection)
    with (tmp_path / "file").open("wb") as file:
        assert not shut_down((file.fileno(), os.fstat(file.fileno()).st_ino))
        file.write(b"still open")
