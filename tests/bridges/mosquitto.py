"""Debian's MQTT broker, and a client that collects what is published."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.daemon_process import wait_for
from tests.free_port import free_port


class Mosquitto:
    """A broker that forgets everything when it ends."""

    def __init__(
        self, folder: Path, login: tuple[str, str] | None = None, certificate: tuple[Path, Path] | None = None
    ) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            if os.environ.get("STREAMSEG_REQUIRE_MOSQUITTO") == "1":
                pytest.fail("STREAMSEG_REQUIRE_MOSQUITTO=1, but there is no mosquitto")
            pytest.skip("there is no mosquitto: apt-get install mosquitto")
        self._program = program
        self._file = folder / "mosquitto.conf"
        self.port = free_port()
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if login else 'true'}"]
        if login:
            passwords = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), *login], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if certificate:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        if os.geteuid() == 0:
            lines.append("user root")
        self._file.write_text("\n".join([*lines, ""]))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self._program, "-c", str(self._file)], stderr=subprocess.DEVNULL)
        wait_for(self._listens, 20, "a broker that listens", lambda: self.process.poll() is None)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


class Listener:
    """Collects messages. Connects again by itself, and then counts what the broker still has as new."""

    def __init__(self, port: int, login: tuple[str, str] | None = None, ca_file: Path | None = None) -> None:
        self.retained: dict[str, bytes] = {}
        self.all: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        if login:
            self.client.username_pw_set(*login)
        if ca_file is not None:
            self.client.tls_set(str(ca_file))
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._arrived
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _arrived(self, _client: Any, _data: Any, message: Any) -> None:
        with self._lock:
            self.all.append((message.topic, bytes(message.payload)))
            if message.payload:
                self.retained[message.topic] = bytes(message.payload)
            else:
                self.retained.pop(message.topic, None)

    def clear(self) -> None:
        with self._lock:
            self.retained.clear()
            self.all.clear()

    def wait(self, topic: str, payload: bytes | None = None) -> bytes:
        """The newest message of a topic, once there is one, or that one."""
        wait_for(
            lambda: topic in self.retained and payload in (None, self.retained[topic]),
            40,
            f"{topic} {payload!r}; there are {sorted(self.retained)}",
        )
        return self.retained[topic]

    def wait_gone(self, topic: str) -> None:
        wait_for(lambda: topic not in self.retained, 40, f"no {topic}")

    def json(self, topic: str) -> Any:
        return json.loads(self.wait(topic))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
