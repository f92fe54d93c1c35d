"""What systemd receives, on a socket that stands in for its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamseg.daemon import service_manager
from streamseg.daemon.service_manager import ServiceManager, describe

Opened = Callable[[dict[str, str]], ServiceManager]


@pytest.fixture
def manager_socket(tmp_path: Path) -> Iterator[socket.socket]:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(tmp_path / "notify"))
    receiver.settimeout(5)
    yield receiver
    receiver.close()


@pytest.fixture
def opened() -> Iterator[Callable[[dict[str, str]], ServiceManager]]:
    """Make service managers that are closed at the end."""
    made: list[ServiceManager] = []

    def make(variables: dict[str, str]) -> ServiceManager:
        made.append(ServiceManager(variables))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


def environment(receiver: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": receiver.getsockname(), **more}


def heard(receiver: socket.socket) -> list[str]:
    receiver.setblocking(False)
    lines: list[str] = []
    try:
        while True:
            lines += receiver.recv(4096).decode().splitlines()
    except BlockingIOError:
        return lines


EXTEND = "EXTEND_TIMEOUT_USEC=60000000"


def test_a_start_asks_for_time_until_it_is_ready(
    opened: Opened, manager_socket: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "_EXTEND_EVERY_S", 0.0)
    manager = opened(environment(manager_socket))
    manager.tick("starting", healthy=True)
    manager.starting("compiling\n 40 %")
    manager.tick("starting", healthy=True)  # still at it, without a word
    manager.tick("starting", healthy=False)
    manager.ready()
    manager.ready()
    manager.starting("too late")
    manager.tick("starting", healthy=True)
    assert heard(manager_socket) == [EXTEND, "STATUS=starting", "STATUS=compiling 40 %", EXTEND, "READY=1"]


def test_time_is_asked_for_now_and_then(opened: Opened, manager_socket: socket.socket) -> None:
    manager = opened(environment(manager_socket))
    for _ in range(3):
        manager.tick("starting", healthy=True)
    assert heard(manager_socket) == [EXTEND, "STATUS=starting"]


def test_the_watchdog_is_fed_only_while_the_daemon_is_healthy(opened: Opened, manager_socket: socket.socket) -> None:
    manager = opened(environment(manager_socket, WATCHDOG_USEC="1", WATCHDOG_PID=str(os.getpid())))
    manager.ready()
    manager.tick("fine", healthy=True)
    manager.tick("fine", healthy=False)
    manager.tick("fine", healthy=True)
    assert heard(manager_socket) == ["READY=1", "STATUS=fine", "WATCHDOG=1", "WATCHDOG=1"]


@pytest.mark.parametrize("settings", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_PID": "1"}])
def test_a_watchdog_of_another_process_is_ignored(
    opened: Opened, manager_socket: socket.socket, settings: dict[str, str]
) -> None:
    given = {"WATCHDOG_USEC": "1000000", **settings} if "WATCHDOG_PID" in settings else settings
    manager = opened(environment(manager_socket, **given))
    manager.ready()
    manager.tick("fine", healthy=True)
    assert heard(manager_socket) == ["READY=1", "STATUS=fine"]


def test_children_inherit_none_of_its_variables(opened: Opened, manager_socket: socket.socket) -> None:
    variables = environment(manager_socket, WATCHDOG_USEC="5", WATCHDOG_PID="7", HOME="/x")
    opened(variables)
    assert variables == {"HOME": "/x"}


def test_a_reload_and_the_end_are_reported(opened: Opened, manager_socket: socket.socket) -> None:
    manager = opened(environment(manager_socket))
    manager.reloading()
    manager.reloaded()
    manager.stopping()
    first, second, *rest = heard(manager_socket)
    assert (first, rest) == ("RELOADING=1", ["READY=1", "STOPPING=1", "STATUS=stopping"])
    assert second.startswith("MONOTONIC_USEC=")


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "@streamseg-test-without-listener"])
def test_without_a_service_manager_nothing_happens(opened: Opened, address: str) -> None:
    manager = opened({"NOTIFY_SOCKET": address})
    manager.ready()
    manager.tick("fine", healthy=True)
    manager.close()


def test_the_status_names_what_is_not_ready() -> None:
    ready = {"worker": "ready", "publisher": "ready", "capture:a": "ready", "capture:b": "ended"}
    assert describe(ready, "3 objects, 29 frames/s") == "2 cameras, 3 objects, 29 frames/s"
    assert describe({"worker": "restarting", "capture:a": "ready"}, "") == "1 camera; not ready: worker"
