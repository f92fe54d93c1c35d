"""`streamseg top` in a real terminal, and how it shows messages."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from streamseg.cli.keyboard import key_names
from streamseg.cli.top_screen import screen
from streamseg.cli.top_state import TopState
from streamseg.client.assembly import assemble
from tests.client.conftest import Messages
from tests.e2e.daemon_process import DISC, DaemonProcess, wait_for

COLUMNS, LINES = 110, 28


class Terminal:
    """A program in a pseudo-terminal, and what its screen shows."""

    def __init__(self, *command: str) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self.raw = b""
        self._ours, theirs = pty.openpty()
        self.resize(COLUMNS, LINES)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def text(self) -> str:
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait(self, pattern: str) -> str:
        wait_for(lambda: re.search(pattern, self.text), 40, f"{pattern!r}; the screen is\n{self.text}")
        return self.text

    def attributes(self) -> list[object]:
        return list(termios.tcgetattr(self._theirs))

    def check_end(self) -> None:
        """It ended well, and left the terminal as it was."""
        assert self.process.wait(20) == 0
        assert self.attributes() == self.before
        wait_for(lambda: b"\x1b[?1049l" in self.raw, 20, "the screen that was there before")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        os.close(self._theirs)
        self._reader.join(10)
        os.close(self._ours)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    streams = DISC["streams"] | {"yard": {"source": "scene:simple?size=160x90"}}  # type: ignore[operator]
    running = DaemonProcess(DISC | {"streams": streams}, tmp_path)
    running.wait_log("ready: masks at")
    yield running
    running.close()


def test_top_shows_streams_and_follows_keys_in_a_terminal(daemon: DaemonProcess) -> None:
    terminal = Terminal(sys.executable, "-m", "streamseg", "top", daemon.endpoint)
    try:
        terminal.wait(r"(?s)▶ +cam +streaming.*yard +streaming.*objects of cam.*1 +cup +tracked")
        terminal.press("\x1b[B")
        terminal.wait(r"(?s)▶ +yard.*objects of yard\s+no objects")
        terminal.press("l")
        terminal.wait(r"(?s)losses of yard.*latency \(median of a second\): decode \d")
        terminal.press("kp")
        terminal.wait(r"(?s)▶ +cam.*processes.*publisher +ready +0")
        daemon.child("worker").kill()
        terminal.press("e")
        terminal.wait(r"(?s)events.*_daemon +worker_restarted")
        terminal.press("q")
        terminal.check_end()
    finally:
        terminal.close()


def test_a_signal_restores_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal(sys.executable, "-m", "streamseg", "top", f"ipc://{tmp_path}/nothing")
    try:
        terminal.wait(r"waiting for a daemon at\s+ipc://")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.check_end()
    finally:
        terminal.close()


def test_top_needs_a_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamseg", "top"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


def test_key_sequences_become_names() -> None:
    assert key_names(b"j\x1b[A\x1bOB\t\x1b[Zq") == ["j", "up", "down", "tab", "back tab", "q"]
    assert key_names(b"a\x1b[15~b") == ["a"]


def shown(state: TopState, lines: int = 24, width: int = 100) -> str:
    console = Console(width=width, height=lines, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(screen(state, console.width, lines))
        return console.export_text()


def fed(*messages: list[bytes]) -> TopState:
    state = TopState("ipc:///pub", now_s=lambda: 0.0)
    for parts in messages:
        state.feed(assemble(parts))
    return state


def test_losses_per_second_and_text_from_a_camera() -> None:
    golden = Messages()
    first = golden("status", t_wall_ns="1000000000", drops={"ring/superseded": 10})
    then = golden(
        "status",
        seq=9,
        t_wall_ns="3000000000",
        drops={"ring/superseded": 16},
        last_error="bad \x1b[31m thing",
        paused=False,
    )
    state = fed(golden("daemon_status", streams=["cam1", "b"]), first, then)
    text = shown(state)
    assert re.search(r"▶ +cam1 .* 3\.0 +16 ", text)
    assert "\x1b[31m thing" not in text
    state.press("l")
    assert re.search(r"ring/superseded +3\.0 +16", shown(state))
    state.feed(assemble(golden("daemon_status", session="00000000", streams=["b"])))
    assert state.selected == "b"


def test_no_text_of_a_daemon_controls_the_terminal() -> None:
    golden, evil = Messages(), "\x1b]0;evil\x07"
    processes = {evil: evil}
    state = fed(
        golden(
            "daemon_status",
            streams=["cam1", evil],
            model=evil,
            device=evil,
            version=evil,
            engine=evil,
            processes=processes,
        ),
        golden("status", state=evil, latency_ms={evil: 1.0}, drops={evil: 1}, last_error=evil),
        golden("event_object", label=evil, detail=evil),
    )
    for key in "olep":
        state.press(key)
        assert "evil" in shown(state, width=200)
        assert not set("\x1b\x07") & set(shown(state, width=200))


def test_a_narrow_terminal_has_fewer_columns_and_whole_numbers() -> None:
    golden = Messages()
    state = fed(golden("daemon_status", streams=["cam1", "a-stream-with-a-long-name"]), golden("status"))
    state.feed(assemble(golden("objects")))
    for width in (30, 40, 50, 60, 70, 80, 100):
        lines = shown(state, width=width).splitlines()
        headers = [line for line in lines if "STATE" in line]
        assert len(headers) == 2, (width, lines)
        assert not any("…" in header for header in headers), (width, headers)
        assert any(re.search(r"▶ +cam1 +streaming", line) for line in lines), (width, lines)
        assert width < 40 or any(re.search(r"cam1.* 24\.0 +3 ", line) for line in lines), (width, lines)
        assert "q quit" in lines[-1]
    assert "RECONN" not in shown(state, width=60)
    assert re.search(r"STREAM +STATE +IN/s +OUT/s +OBJ +LATENCY", shown(state, width=60))


def test_any_size_and_many_streams_fit() -> None:
    golden = Messages()
    names = [f"s{number}" for number in range(50)]
    state = fed(golden("daemon_status", streams=names))
    for _ in range(30):
        state.press("down")
    for key in ("tab", "tab", "tab", "back tab"):
        assert state.press(key)
        for lines in (4, 10, 24):
            assert len(shown(state, lines).splitlines()) <= max(lines, 10)
    assert state.selected == "s30"
    assert "s30" in shown(state)
    assert not state.press("q")
