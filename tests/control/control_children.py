"""The control process in its own process, with the test in the role of worker, publisher and supervisor."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import zmq

from streamseg.control.spec import ControlSpec
from streamseg.daemon.run_child import run_child
from streamseg.ipc.command_socket import CommandSocket
from streamseg.ipc.commands import Command, Outcome, StatusCopy, encode
from streamseg.ipc.supervisor_messages import DaemonInfo, Report, SupervisorMessage
from streamseg.protocol.control import ErrorBody

SPAWN = multiprocessing.get_context("spawn")
WAIT_MS = 20_000


class ControlProcess:
    """A control process between a client and a worker."""

    def __init__(self, folder: Path, *, default: bool = False, timeout_s: float = 10.0, **changes: Any) -> None:
        self.endpoint = f"ipc://{folder}/control"
        self.spec = ControlSpec(
            session="9f1c2e4a",
            endpoint=None if default else changes.pop("endpoint", self.endpoint),
            other_endpoint=f"ipc://{folder}/other",
            commands_endpoint=f"ipc://{folder}/commands",
            version="0.0.1",
            info=DaemonInfo(("cam",), ("tcp://127.0.0.1:5555",), "nano", 16, {"cam": "rtsp://u:***@h/1"}),
            worker_id=b"worker-" + os.urandom(8),
            command_timeout_s=timeout_s,
            **{name: value for name, value in changes.items() if name != "endpoint"},
        )
        self.context = zmq.Context()
        self.worker: CommandSocket | None = None
        self.publisher = self.context.socket(zmq.DEALER)
        self.publisher.connect(self.spec.commands_endpoint)
        self.sockets = [self.publisher]
        self.start()

    def start(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        args = ("control", "streamseg.control.process", (self.spec,), theirs)
        self.process = SPAWN.Process(target=run_child, args=args)
        self.process.start()
        theirs.close()

    def ready(self) -> str:
        """Wait until it listens; return where."""
        return self.said(Report, "ready").text

    def said(self, kind: type, what: str = "") -> Any:
        """Return its next report of a kind."""
        deadline = time.monotonic() + 30
        while self.connection.poll(max(0.0, deadline - time.monotonic())):
            said = self.connection.recv()
            if isinstance(said, kind) and (not what or said.kind == what):
                return said
        raise AssertionError(f"no {kind.__name__} {what} within 30 s")

    def send(self, message: SupervisorMessage) -> None:
        self.connection.send_bytes(pickle.dumps(message))

    def client(self, kind: int = zmq.DEALER, endpoint: str | None = None) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.connect(endpoint or self.endpoint)
        self.sockets.append(socket)
        return socket

    def start_worker(self) -> None:
        """Connect as the worker does, and wait until commands get through."""
        self.worker = CommandSocket(self.spec.commands_endpoint, self.spec.worker_id)
        probe = self.client()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            send(probe, op="list", id=os.urandom(4).hex())
            poller = zmq.Poller()
            for socket in (self.worker.socket, probe):
                poller.register(socket, zmq.POLLIN)
            if self.worker.socket in dict(poller.poll(WAIT_MS)):
                self.answer(self.command(), b"{}")
            if receive(probe)["ok"]:
                return
        raise AssertionError("no command got through within 20 s")

    def command(self) -> Command:
        """Return the next command to the worker."""
        assert self.worker is not None
        assert self.worker.socket.poll(WAIT_MS), "no command came"
        command = self.worker.take()
        assert command is not None
        return command

    def answer(self, command: Command, result: bytes = b"", error: ErrorBody | None = None) -> None:
        assert self.worker is not None
        self.worker.answer(Outcome(command.number, result, error))

    def publish(self, stream: str, status: bytes) -> None:
        self.publisher.send(encode(StatusCopy(stream, status)))

    def close(self) -> None:
        if self.process.is_alive():
            self.connection.send_bytes(b"stop")
            self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(timeout=10)
        self.connection.close()
        if self.worker is not None:
            self.worker.close()
        for socket in self.sockets:
            socket.close(linger=0)
        self.context.term()


def send(socket: zmq.Socket[bytes], **fields: object) -> None:
    socket.send_multipart([b"", json.dumps({"v": 1, "id": "r1", **fields}).encode()])


def receive(socket: zmq.Socket[bytes]) -> dict[str, Any]:
    assert socket.poll(WAIT_MS), "no answer came"
    empty, data = socket.recv_multipart()
    assert empty == b""
    return json.loads(data)


def ask(socket: zmq.Socket[bytes], **fields: object) -> dict[str, Any]:
    send(socket, **fields)
    return receive(socket)
