"""The control process with clients that send anything, read nothing, or pretend to be the worker."""

from __future__ import annotations

import contextlib
import json
import os
import socket as net

import psutil
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamseg.client import Controller
from streamseg.ipc.commands import Outcome, StatusCopy, encode
from streamseg.protocol.control import MAX_REQUEST_BYTES, OPERATIONS
from tests.control.control_children import ask, receive, send
from tests.key_files import Keys
from tests.publish.publisher_children import until

_requests = st.fixed_dictionaries(
    {
        "v": st.sampled_from([1, 1, 1, 2, None, "1"]),
        "id": st.text(max_size=70),
        "op": st.sampled_from([*OPERATIONS, "x"]),
    },
    optional={
        "stream": st.sampled_from(["cam", "", "cam9", "_daemon", "../x"]),
        "client": st.text(max_size=70),
        "args": st.dictionaries(
            st.sampled_from(["object_id", "label", "points", "box", "mask", "frame", "prompts", "settings", "x"]),
            st.none() | st.integers() | st.text(max_size=5) | st.lists(st.lists(st.floats(), max_size=4), max_size=4),
            max_size=4,
        ),
    },
).map(lambda value: [b"", json.dumps(value).encode()])
_anything = st.lists(st.binary(max_size=200), min_size=1, max_size=5) | _requests


def test_nothing_that_is_sent_disturbs_it(control):
    running = control()
    running.ready()
    running.start_worker()
    good, bad = running.client(), running.client()
    process = psutil.Process(running.process.pid)

    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(_anything, min_size=1, max_size=6))
    def hostile(messages):
        for parts in messages:
            bad.send_multipart(parts)
        hello = ask(good, op="hello", id=os.urandom(8).hex())
        assert hello["ok"]
        while bad.poll(0):
            answer = json.loads(bad.recv_multipart()[-1])
            assert answer["ok"] or answer["error"]["code"]
        while (command := running.worker.take()) is not None:
            running.answer(command, b"{}")

    hostile()
    assert running.process.is_alive()
    assert process.memory_info().rss < 400 * 2**20


def test_a_request_that_is_too_long_ends_its_connection_only(control):
    running = control()
    running.ready()
    good, bad = running.client(), running.client()
    assert ask(bad, op="hello")["ok"]
    for _ in range(3):
        bad.send_multipart([b"", b"x" * (MAX_REQUEST_BYTES + 1)])
    assert ask(good, op="hello")["ok"]
    assert ask(good, op="hello", id="after")["ok"]
    assert not bad.poll(200)


def test_unknown_clients_on_the_socket_do_no_harm(control):
    running = control()
    running.ready()
    path = running.endpoint.removeprefix("ipc://")
    good = running.client()
    assert ask(good, op="hello")["ok"]
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, os.urandom(5000), b""):
        with net.socket(net.AF_UNIX) as line:
            line.connect(path)
            line.settimeout(5)
            line.sendall(data)
            assert ask(good, op="hello", id=os.urandom(4).hex())["ok"]


def test_a_client_that_reads_no_replies_does_no_harm(control):
    running = control()
    running.ready()
    deaf, good = running.client(), running.client()
    deaf.setsockopt(zmq.SNDHWM, 1)
    for number in range(5000):
        try:
            deaf.send_multipart([b"", b'{"v":1,"id":"%d","op":"hello"}' % number], zmq.NOBLOCK)
        except zmq.Again:
            break
    for number in range(20):
        assert ask(good, op="hello", id=str(number))["ok"]


def test_another_peer_cannot_take_the_place_of_the_worker(control):
    running = control()
    running.ready()
    running.start_worker()
    with zmq.Context() as context:
        intruder = context.socket(zmq.DEALER)
        intruder.linger = 0
        intruder.setsockopt(zmq.ROUTING_ID, b"worker")
        intruder.connect(running.spec.commands_endpoint)
        intruder.send(encode(StatusCopy("_daemon", b'{"model":"theirs"}')))
        client = running.client()
        while ask(client, op="get_status", id=os.urandom(4).hex())["result"]["daemon"] is None:
            pass  # until the intruder is connected
        send(client, op="pause", stream="cam")
        command = running.command()
        intruder.send(encode(Outcome(command.number, b'{"forged":true}')))
        intruder.send_multipart([b"many", b"parts", b""])
        intruder.send(encode(StatusCopy("_daemon", b'{"model":"later"}')))
        other = running.client()
        while ask(other, op="get_status", id=os.urandom(4).hex())["result"]["daemon"] != {"model": "later"}:
            pass
        running.answer(command, b'{"real":true}')
        assert receive(client)["result"] == {"real": True}
        intruder.close()


def test_connections_that_send_nothing_are_bounded(control, tmp_path):
    """The oldest go, those that have sent a request stay, and new ones are served."""
    keys = Keys(tmp_path)
    keys.authorize("robot", "control")
    running = control(endpoint="tcp://127.0.0.1:*", keys=keys.folder.path)
    address = running.ready()
    host, port = address.removeprefix("tcp://").split(":")
    process = psutil.Process(running.process.pid)
    with Controller(address, key_file=keys.path / "robot.key_secret") as robot, contextlib.ExitStack() as strangers:
        assert robot.hello()
        its_port = ports_to(int(port))
        silent = [strangers.enter_context(net.create_connection((host, int(port)))) for _ in range(400)]
        until(lambda: process.num_fds() < 256 + 60, "descriptors of the oldest to be closed")
        silent[0].settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while silent[0].recv(4096):  # libzmq's greeting, then the end
                pass
        assert robot.hello()
        assert its_port <= ports_to(int(port))
        with Controller(address, key_file=keys.path / "robot.key_secret") as late:
            assert late.hello()


def ports_to(port: int) -> set[int]:
    """This process's ports of its connections to a port."""
    mine = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in mine if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"}
