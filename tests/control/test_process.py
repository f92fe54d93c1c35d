"""The control process with real sockets: it forwards, replies once, times out, and survives any input."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket as net
import tempfile
from pathlib import Path

import msgspec
import pytest
import zmq

from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.supervisor_messages import DaemonInfo, Report, WorkerGone
from streamseg.protocol.control import OPERATIONS, ErrorBody
from streamseg.protocol.published import Status
from tests.control.control_children import ask, receive, send


def test_a_command_goes_to_the_worker_and_its_outcome_to_who_asked(control):
    running = control()
    assert running.ready() == running.endpoint
    running.start_worker()
    client = running.client()
    send(client, op="add_prompt", stream="cam", args={"points": [[0.5, 0.5]]})
    command = running.command()
    assert (command.op, command.stream) == ("add_prompt", "cam")
    assert json.loads(command.args)["points"] == [[0.5, 0.5]]
    running.answer(command, b'{"object_id":3}')
    assert receive(client) == {"v": 1, "id": "r1", "ok": True, "result": {"object_id": 3}}
    send(client, id="r2", op="remove_object", stream="cam", args={"object_id": 9})
    running.answer(running.command(), error=ErrorBody(code="OBJECT_NOT_FOUND", message="no object 9"))
    error = {"code": "OBJECT_NOT_FOUND", "message": "no object 9", "retryable": False}
    assert receive(client) == {"v": 1, "id": "r2", "ok": False, "error": error}


def test_a_req_socket_is_served_too(control):
    running = control()
    running.ready()
    client = running.client(zmq.REQ)
    client.send(b'{"v":1,"id":"x","op":"hello"}')
    assert client.poll(20_000)
    hello = json.loads(client.recv())["result"]
    assert hello["streams"] == ["cam"]
    assert hello["ops"] == [*OPERATIONS]
    assert (hello["session"], hello["model"], hello["max_objects"]) == ("9f1c2e4a", "nano", 16)


def test_a_request_that_comes_twice_is_done_once(control):
    running = control()
    running.ready()
    running.start_worker()
    one, other = running.client(), running.client()
    request = {"op": "pause", "stream": "cam", "client": "page"}
    send(one, **request)
    command = running.command()
    send(other, **request)  # the same client over another connection, while the first request is on its way
    assert ask(other, op="hello", id="barrier")["ok"]
    running.answer(command, b"{}")
    assert receive(one) == receive(other)
    assert ask(one, **request)["ok"]  # and once more afterwards
    assert ask(one, **{**request, "op": "resume"})["error"]["code"] == "BAD_REQUEST"
    send(one, op="pause", stream="cam", client="other")
    running.answer(running.command(), b"{}")  # another client: another request
    assert receive(one)["ok"]
    assert running.worker.take() is None


def test_without_a_name_a_client_is_its_connection(control):
    running = control()
    running.ready()
    running.start_worker()
    one, other = running.client(), running.client()
    for client in (one, other):
        send(client, op="pause", stream="cam")
        running.answer(running.command(), b"{}")
        assert receive(client)["ok"]
    assert ask(one, op="pause", stream="cam")["ok"]
    assert running.worker.take() is None


def test_an_id_in_use_by_another_pending_request_is_refused(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    send(client, op="pause", stream="cam")
    command = running.command()
    assert "was used for another" in ask(client, op="resume", stream="cam")["error"]["message"]
    running.answer(command, b"{}")
    assert receive(client)["ok"]


def test_a_retryable_error_is_tried_again(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    request = {"op": "add_prompt", "stream": "cam", "args": {"points": [[0, 0]]}}
    send(client, **request)
    running.answer(running.command(), error=ErrorBody(code="NO_FRAME_YET", message="wait", retryable=True))
    assert receive(client)["error"]["retryable"] is True
    send(client, **request)
    running.answer(running.command(), b"{}")
    assert receive(client)["ok"]


def test_previews_are_never_answered_from_the_cache(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    for _ in range(2):
        send(client, op="add_prompt", stream="cam", args={"points": [[0, 0]], "preview": True})
        running.answer(running.command(), b"{}")
        assert receive(client)["ok"]


def test_a_worker_that_is_not_there_is_reported_at_once(control):
    running = control()
    running.ready()
    error = ask(running.client(), op="list")["error"]
    assert (error["code"], error["retryable"]) == ("WORKER_RESTARTING", True)


def test_a_worker_that_dies_over_a_command_is_reported_at_once(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    send(client, op="pause", stream="cam")
    running.command()
    running.send(WorkerGone())
    error = receive(client)["error"]
    assert (error["code"], error["retryable"]) == ("WORKER_RESTARTING", True)
    assert "pause: the worker died" in error["message"]


def test_a_new_worker_takes_the_place_of_the_old_one(control):
    running = control()
    running.ready()
    running.start_worker()
    old = running.worker
    running.start_worker()
    client = running.client()
    send(client, op="pause", stream="cam")
    running.answer(running.command(), b"{}")
    assert receive(client)["ok"]
    old.close()


def test_after_a_time_out_the_same_request_gets_the_late_outcome(control):
    running = control(timeout_s=0.3)
    running.ready()
    running.start_worker()
    client = running.client()
    send(client, op="pause", stream="cam")
    command = running.command()
    error = receive(client)["error"]
    assert (error["code"], error["retryable"]) == ("TIMEOUT", True)
    assert "the worker did not reply within 0.3 s" in error["message"]
    running.answer(command, b'{"late":1}')
    assert ask(client, op="hello", id="barrier")["ok"]
    assert ask(client, op="pause", stream="cam")["result"] == {"late": 1}
    assert running.worker.take() is None


def test_requests_about_streams_go_to_the_supervisor(control):
    running = control()
    running.ready()
    client = running.client()
    send(client, op="add_stream", stream="new", args={"settings": {"source": "scene:simple"}})
    command = running.said(Command)
    assert (command.op, command.stream) == ("add_stream", "new")
    running.send(DaemonInfo(("cam", "new"), ("tcp://127.0.0.1:7",), "nano", 16))
    running.send(Outcome(command.number, b"{}"))
    assert receive(client)["ok"]
    assert ask(client, op="hello", id="h")["result"]["streams"] == ["cam", "new"]
    send(client, op="reload", id="r")
    running.send(Outcome(running.said(Command).number, error=ErrorBody(code="BAD_CONFIG", message="no file")))
    assert receive(client)["error"]["code"] == "BAD_CONFIG"


def test_an_unknown_stream_is_named_by_every_operation(control):
    running = control()
    running.ready()
    client = running.client()
    args = {
        "remove_object": {"object_id": 1},
        "undo_prompt": {"object_id": 1},
        "label_object": {"object_id": 1, "label": "x"},
        "set_prompts": {"prompts": []},
        "change_stream": {"settings": {}},
    }
    ops = [op for op, operation in OPERATIONS.items() if operation.stream != "none" and op != "add_stream"]
    for op in ops:
        error = ask(client, id=op, op=op, stream="cam9", args=args.get(op, {}))["error"]
        assert error["code"] == "STREAM_NOT_FOUND"
        assert error["message"] == "there is no stream 'cam9'; streams: cam"


def test_too_many_objects_are_refused_before_the_worker_hears_of_them(control):
    running = control()
    running.ready()
    prompts = [{"object_id": number, "box": [0, 0, 1, 1]} for number in range(1, 18)]
    error = ask(running.client(), op="set_prompts", stream="cam", args={"prompts": prompts})["error"]
    assert error["code"] == "BAD_PROMPT"
    assert "17 objects, but model.max_objects is 16" in error["message"]


def test_requests_that_wait_are_bounded(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    for number in range(40):
        send(client, id=str(number), op="pause", stream="cam")
    busy = [receive(client) for _ in range(8)]
    assert {answer["error"]["code"] for answer in busy} == {"BUSY"}
    assert ask(running.client(), op="hello")["ok"]


def test_status_is_answered_from_what_was_published_last(control):
    running = control()
    running.ready()
    client = running.client()
    first = ask(client, op="get_status")["result"]
    assert first["daemon"] is None
    (early,) = (msgspec.convert(stream, Status) for stream in first["streams"])
    assert (early.stream, early.state, early.source, early.publisher) == ("cam", "starting", "rtsp://u:***@h/1", "")
    running.publish("cam", b'{"state":"streaming"}')
    running.publish("unknown", b'{"state":"streaming"}')
    running.publish("_daemon", b'{"model":"nano"}')
    while (result := ask(client, op="get_status", id=os.urandom(4).hex())["result"])["daemon"] is None:
        pass
    assert result == {"daemon": {"model": "nano"}, "streams": [{"state": "streaming"}]}
    running.send(DaemonInfo((), (), "nano", 16))
    while ask(client, op="hello", id=os.urandom(4).hex())["result"]["streams"]:
        pass
    assert ask(client, op="get_status", id="after")["result"]["streams"] == []


def test_status_knows_of_a_confirmed_pause_before_the_publisher_does(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    numbers = itertools.count()

    def ask_new(op, **fields):
        return ask(client, op=op, id=f"n{next(numbers)}", **fields)["result"]

    def change(op):
        send(client, op=op, stream="cam", id=f"n{next(numbers)}")
        running.answer(running.command(), b"{}")
        assert receive(client)["ok"]

    def hear(paused, fps):
        """Publish a status, and return what is said once it has arrived: each has its own rate."""
        running.publish("cam", msgspec.json.encode({"state": "streaming", "fps_in": fps, "paused": paused}))
        while (status := ask_new("get_status")["streams"][0])["fps_in"] != fps:
            pass
        return status["paused"]

    change("pause")  # before the first status
    assert ask_new("get_status")["streams"][0]["paused"] is True
    assert hear(False, 1.0) is True  # made before the publisher heard of the pause
    assert hear(True, 2.0) is True
    assert hear(False, 3.0) is False  # the publisher knew, so this is news
    assert hear(True, 4.0) is True
    change("resume")
    assert ask_new("get_status", stream="cam")["streams"][0] == {"state": "streaming", "fps_in": 4.0, "paused": False}
    running.send(WorkerGone())  # it may have done more than it confirmed
    while not ask_new("get_status")["streams"][0]["paused"]:
        pass


def test_waiting_clients_learn_that_the_daemon_stops(control):
    running = control()
    running.ready()
    running.start_worker()
    client = running.client()
    send(client, op="pause", stream="cam")
    running.command()
    running.connection.send_bytes(b"stop")
    assert "the daemon is stopping" in receive(client)["error"]["message"]
    running.process.join(timeout=10)
    assert not Path(running.endpoint.removeprefix("ipc://")).exists()


# --- where it listens -----------------------------------------------------------------------------------------------


def test_a_second_daemon_says_where_it_is_instead(control, monkeypatch):
    # tmp_path may be too deep for the address of a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        first, second = control(default=True), control(default=True)
        addresses = {first.ready(), second.ready()}
        assert f"ipc://{folder}/streamseg-control" in addresses
        assert addresses & {first.spec.other_endpoint, second.spec.other_endpoint}
        for address in addresses:
            assert ask(first.client(endpoint=address), op="hello")["ok"]


def test_a_configured_address_is_bound_or_refused(control):
    with net.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        fatal = control(endpoint=endpoint, allow_unauthenticated=True).said(Report, "fatal")
    assert f"control.endpoint: {endpoint!r} cannot be bound: another program listens there" in fatal.text
    assert fatal.exit_code == 2


@pytest.mark.parametrize("settings", [{"endpoint": "tcp://127.0.0.1:*"}, {"endpoint": "tcp://0.0.0.0:*"}])
def test_tcp_needs_keys(control, tmp_path, settings):
    fatal = control(keys=tmp_path / "keys", **settings).said(Report, "fatal")
    assert f"run `streamseg keys authorize NAME --keys {tmp_path}/keys`" in fatal.text


def test_a_paused_supervisor_does_not_keep_it_from_ending(control):
    running = control()
    running.ready()
    os.kill(running.process.pid, signal.SIGHUP)  # left to the supervisor
    assert ask(running.client(), op="hello")["ok"]
    running.connection.close()  # the supervisor died
    running.process.join(timeout=10)
    assert running.process.exitcode == 0


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("add_prompt", {"points": [[0.5, 0.5, 0.7]]}, "label 0.7 is invalid"),
        ("add_prompt", {"points": [[0.5, 0.5, -0.4]]}, "label -0.4 is invalid"),
        ("add_prompt", {"points": [[320, 180]]}, "for pixels set coords to pixels"),
        ("add_prompt", {"points": [[0.5, 0.5]], "coords": "pixels"}, "set coords to normalized"),
        ("add_prompt", {"box": [0.5, 0.5, 0.1, 0.9]}, "is empty"),
        ("add_prompt", {}, "the prompt is empty"),
        (
            "set_prompts",
            {"prompts": [{"object_id": 3, "points": [[0.1, 0.1, 2]]}]},
            "object 3: [0.1, 0.1, 2.0]: label 2",
        ),
    ],
)
def test_implausible_prompts_do_not_reach_the_worker(control, op, args, message):
    running = control()
    running.ready()
    running.start_worker()
    error = ask(running.client(), op=op, stream="cam", args=args)["error"]
    assert error["code"] == "BAD_PROMPT"
    assert message in error["message"]
