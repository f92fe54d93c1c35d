"""A control process that asks for keys: roles and streams are checked for each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from streamseg.client import AsyncController, ControlError, Controller
from streamseg.errors import ConfigError
from streamseg.ipc.supervisor_messages import DaemonInfo
from streamseg.protocol.control import CONTROL_VERSION
from tests.control.control_children import ControlProcess
from tests.e2e.daemon_process import wait_for
from tests.key_files import PAST, Keys


@pytest.fixture(scope="module")
def control(module_keys: Keys) -> Iterator[ControlProcess]:
    module_keys.authorize("watcher")
    module_keys.authorize("door", "control", streams=("door*",))
    module_keys.authorize("admin", "control")
    running = ControlProcess(
        module_keys.path,
        endpoint="tcp://127.0.0.1:*",
        keys=module_keys.folder.path,
        local_endpoint=f"ipc://{module_keys.path}/control",
    )
    running.tcp = running.ready()
    running.start_worker()
    running.send(DaemonInfo(("door", "yard"), ("tcp://127.0.0.1:5555",), "nano", 16))
    with controller(running, module_keys, "admin") as admin:
        wait_for(lambda: admin.hello().streams == ("door", "yard"), 20, "the streams", running.process.is_alive)
    yield running
    running.close()


def controller(control: ControlProcess, module_keys: Keys, name: str | None, **options: object) -> Controller:
    file = None if name is None else module_keys.path / f"{name}.key_secret"
    return Controller(control.tcp, key_file=file, **options)


def test_a_watcher_may_ask_and_not_change(control, module_keys):
    with controller(control, module_keys, "watcher") as watcher:
        assert watcher.hello().streams == ("door", "yard")
        assert "keys" in watcher.hello().features
        for change in (
            lambda: watcher.add_prompt("door", points=[(0.5, 0.5)]),
            lambda: watcher.pause("door"),
            lambda: watcher.add_stream("new", {"source": "webcam:0"}),
            watcher.reload,
        ):
            with pytest.raises(ControlError, match="'watcher' may only watch") as refused:
                change()
            assert (refused.value.code, refused.value.retryable) == ("FORBIDDEN", False)


def test_a_key_is_for_its_streams(control, module_keys):
    with controller(control, module_keys, "door") as door:
        assert door.hello().streams == ("door",)
        assert [one.stream for one in door.get_status().streams] == ["door"]
        with pytest.raises(ControlError, match="'door' is not for stream 'yard'"):
            door.pause("yard")
        for change in (lambda: door.add_stream("door2", {"source": "webcam:0"}), door.reload):
            with pytest.raises(ControlError, match="needs a key for all streams"):
                change()


def test_a_listing_has_the_streams_of_the_key(control, module_keys):
    entry = {"source": "", "paused": False, "frame": None, "size": [0, 0], "objects": []}

    async def listed(name: str) -> list[str]:
        async with AsyncController(control.tcp, key_file=module_keys.path / f"{name}.key_secret") as one:
            asking = asyncio.create_task(one.list())
            command = await asyncio.to_thread(control.command)
            streams = [{"stream": stream, **entry} for stream in ("door", "yard")]
            control.answer(command, json.dumps({"streams": streams}).encode())
            return [one.stream for one in await asking]

    assert asyncio.run(listed("door")) == ["door"]
    assert asyncio.run(listed("admin")) == ["door", "yard"]


def test_the_daemon_s_own_processes_need_no_key(control):
    with Controller(control.spec.local_endpoint) as local:
        assert local.hello().streams == ("door", "yard")


@pytest.mark.parametrize(("name", "why"), [("stranger", "refused the key"), (None, "asks for a key")])
def test_refused_clients_learn_the_reason(control, module_keys, name, why):
    if name is not None:
        module_keys.make(name)
    with controller(control, module_keys, name, connect_timeout_s=1) as other:
        with pytest.raises(ControlError, match=why) as refused:
            other.hello()
        assert refused.value.code == "UNREACHABLE"


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_key_ends_while_it_is_connected_and_comes_back(control, module_keys, end):
    module_keys.authorize(end, "control")
    with controller(control, module_keys, end, connect_timeout_s=0.5, timeout_s=2) as robot:
        assert robot.hello()
        if end == "revoked":
            module_keys.folder.revoke(end)
        else:
            module_keys.authorize(end, "control", expires=PAST)
        assert outcome(robot, until="UNREACHABLE").endswith("(`streamseg keys list` there)")
        module_keys.authorize(end, "control")
        assert outcome(robot, until="") == ""


def outcome(controller: Controller, *, until: str) -> str:
    """Ask until it succeeds or fails with a code; return the error."""
    while True:
        code = text = ""
        try:
            controller.hello()
        except ControlError as error:
            code, text = error.code, str(error)
        if code == until:
            return text


def test_one_client_does_not_get_another_s_reply(control, module_keys):
    """Same client name and request id, other key: a request of its own."""
    identities = []
    for name in ("door", "admin"):
        with controller(control, module_keys, name) as one:
            one.hello()
            request = {"v": CONTROL_VERSION, "id": "same", "client": "same", "op": "pause", "stream": "door"}
            one._connection.socket.send_multipart([b"", json.dumps(request).encode()])
            command = control.command()
            identities.append(command.request)
            control.answer(command, b"{}")
    assert len(set(identities)) == 2


def test_a_key_file_says_what_is_wrong_with_it(module_keys, tmp_path):
    broken = tmp_path / "broken.key_secret"
    broken.write_text('curve\n    public-key = "short"\n')
    for file, server, words in (
        (tmp_path / "no", None, "cannot be read"),
        (broken, None, "does not have the daemon's public key: give server_key"),
        (broken, module_keys.server, "public-key of .* is invalid"),
        (None, module_keys.server, "server_key needs key_file"),
    ):
        with pytest.raises(ConfigError, match=words):
            Controller("tcp://127.0.0.1:1", key_file=file, server_key=server)
