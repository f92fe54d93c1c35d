"""Programs that the page offers."""

from __future__ import annotations

import pytest

from streamseg.web.program_api import endpoint_for


@pytest.mark.parametrize(
    ("endpoint", "host", "expected"),
    [
        ("tcp://0.0.0.0:5555", "192.168.1.7", "tcp://192.168.1.7:5555"),
        ("tcp://*:5555", "camera-host", "tcp://camera-host:5555"),
        ("tcp://[::]:5555", "fe80::1", "tcp://[fe80::1]:5555"),
        ("tcp://0.0.0.0:5555", "localhost", "tcp://127.0.0.1:5555"),
        ("tcp://0.0.0.0:5555", None, "tcp://127.0.0.1:5555"),
        ("tcp://127.0.0.1:5555", "192.168.1.7", "tcp://127.0.0.1:5555"),
        ("ipc:///run/streamseg/pub", "192.168.1.7", "ipc:///run/streamseg/pub"),
    ],
)
def test_a_program_connects_to_the_address_of_the_page_where_the_daemon_publishes_at_all(endpoint, host, expected):
    assert endpoint_for(endpoint, host) == expected
