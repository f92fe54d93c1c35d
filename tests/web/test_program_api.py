"""Programs that the page offers."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from streamseg.web.feed import Feed
from streamseg.web.hub import Hub
from streamseg.web.program_api import ProgramApi, endpoint_for
from streamseg.web.stream_view import StreamView
from tests.web.asgi import ask
from tests.web.test_metrics import DAEMON


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


@pytest.mark.parametrize(("endpoint", "is_local"), [("ipc:///run/pub", True), ("tcp://192.0.2.7:5555", False)])
@pytest.mark.parametrize("language", ["py", "cpp", "mjs"])
def test_a_program_for_an_endpoint_of_one_machine_says_so(endpoint, is_local, language):
    text = program(endpoint, language)
    assert f'"{endpoint}"' in text
    assert ("on the machine of the daemon" in text) == is_local
    assert "key" not in text


@pytest.mark.parametrize("language", ["py", "cpp", "mjs"])
def test_a_program_for_an_endpoint_with_keys_names_its_key_file_and_how_to_make_one(language):
    command = "streamseg keys authorize NAME --keys /srv/keys"
    text = program("tcp://192.0.2.7:5555", language, command)
    assert '"tcp://192.0.2.7:5555"' in text
    assert '"NAME.key_secret"' in text
    assert f"    {command}\n" in text


def program(endpoint: str, language: str, key_command: str = "") -> str:
    hub = Hub("ipc:///nowhere")
    hub.daemon = DAEMON
    hub.streams["cam"] = StreamView("cam", Feed("ipc:///nowhere", "cam"))
    (operation,) = ProgramApi(hub, endpoint, key_command).operations()
    app = Starlette(routes=[Route(operation.path, operation.handler)])
    return ask(app, f"/v1/streams/cam/subscriber.{language}").body.decode()
