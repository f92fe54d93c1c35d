"""`streamseg mqtt` between a real daemon and Debian's broker."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamseg.client import Controller
from tests.bridges.mosquitto import Listener, Mosquitto
from tests.e2e.daemon_process import DISC, DaemonProcess, wait_for

CONFIG = "homeassistant/device/streamseg_home_cam/config"
WHOLE = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "coords": "normalized"}

STALE = ("home/gone/objects/4", "home/cam/objects/99")
NEIGHBORS = ("home/thermostat/set", "home/thermostat/state", "home/garage/cam/state", "home/cam/lens")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    running = Mosquitto(tmp_path_factory.mktemp("broker"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that tracks a disc, which is in a zone."""
    cam: dict[str, Any] = DISC["streams"]["cam"]  # type: ignore[index]
    streams = {"cam": cam | {"zones": {"door": WHOLE}}}
    running = DaemonProcess(DISC | {"streams": streams}, tmp_path_factory.mktemp("daemon"))
    running.wait_log("ready: masks at")
    yield running
    running.close()


@contextlib.contextmanager
def bridge(
    endpoint: str, port: int, *options: str, login: str = "", scheme: str = "mqtt", prefix: str = "home"
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "streamseg", "mqtt", endpoint, "--broker", f"{scheme}://{login}127.0.0.1:{port}"]
    environment = os.environ | {"MQTT_PASSWORD": "p@ss/${word}"}
    with subprocess.Popen(
        [*command, "--prefix", prefix, *options], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def listening(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker.port)
    try:
        yield listener
    finally:
        listener.close()


def test_state_events_and_snapshots_are_published_again_after_a_broker_restart(
    broker: Mosquitto, daemon: DaemonProcess
) -> None:
    with listening(broker) as listener:
        # As a bridge that was killed has left them.
        former = {"version": "1", "model": "echo", "engine": "torch", "recording_stopped": "", "streams": ["gone"]}
        listener.client.publish("home/daemon", json.dumps(former).encode(), retain=True)
        for retained in (*STALE, *NEIGHBORS):
            listener.client.publish(retained, b'{"id": 4}', retain=True)
            listener.wait(retained)
        with bridge(daemon.endpoint, broker.port) as process, Controller(daemon.control) as control:
            listener.wait("home/available", b"online")
            listener.wait("home/cam/available", b"online")
            assert listener.json("home/daemon")["model"] == "echo"
            assert listener.json("home/cam/state")["state"] == "streaming"
            cup = listener.json("home/cam/objects/1")
            assert (cup["label"], cup["visible"], cup["size"], cup["origin"]) == ("cup", True, [320, 180], "config")
            zone = listener.json("home/cam/zones/door")
            assert (zone["zone"], zone["inside"], zone["entered"]) == ("door", 1, 1)
            for stale in STALE:
                listener.wait_gone(stale)
            assert set(NEIGHBORS) <= set(listener.retained)

            listener.all.clear()
            with bridge(daemon.endpoint, broker.port, "--stream", "cam") as second:
                assert second.wait(120) == 2
                assert second.stderr is not None
                assert re.search("another bridge publishes below 'home(/cam)?'", second.stderr.read())
            with bridge(daemon.endpoint, broker.port, prefix="home/cam") as nested:
                assert nested.wait(120) == 2
                assert nested.stderr is not None
                assert "another bridge publishes below 'home/cam'" in nested.stderr.read()
            assert {said for topic, said in listener.all if topic == "home/available"} <= {b"online"}
            assert "home/cam/cam/available" not in listener.retained
            assert listener.retained["home/cam/available"] == b"online"

            config = listener.json(CONFIG)
            assert config["o"]["name"] == "streamseg"
            assert config["avty"] == [{"t": "home/available"}]
            names = {key: component["name"] for key, component in config["cmps"].items()}
            assert names["object_1"] == "cup"
            assert "Zone door" in names.values()
            assert len({component["unique_id"] for component in config["cmps"].values()}) == len(names)

            plate = control.add_prompt("cam", points=[(0.3, 0.6)], label="plate").object_id
            added = listener.json("home/cam/events")
            assert added["event_type"] in ("object_added", "object_appeared", "zone_entered")
            assert listener.json(f"home/cam/objects/{plate}")["label"] == "plate"
            wait_for(lambda: f"object_{plate}" in listener.json(CONFIG)["cmps"], 20, "an entity")
            listener.all.clear()
            control.remove_object("cam", plate)
            listener.wait_gone(f"home/cam/objects/{plate}")
            gone = {"p": "binary_sensor"}
            payloads = lambda: [json.loads(said) for topic, said in listener.all if topic == CONFIG]  # noqa: E731
            wait_for(lambda: len(payloads()) == 2, 20, "two payloads: without the entity's settings, then without it")
            assert [said["cmps"].get(f"object_{plate}") for said in payloads()] == [gone, None]

            listener.client.publish("home/cam/snapshot/get", b"PRESS", qos=1)
            drawn, plain = picture(listener.wait("home/cam/snapshot")), None
            listener.retained.pop("home/cam/snapshot")
            listener.client.publish("home/cam/snapshot/get", b'{"overlay": false}', qos=1)
            plain = picture(listener.wait("home/cam/snapshot"))
            assert drawn.shape == plain.shape == (180, 320, 3)
            assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > len(np.unique(plain.reshape(-1, 3), axis=0))
            assert "home/cam/snapshot" not in retained_by(broker)

            broker.kill()
            listener.clear()
            broker.start()
            for topic in ("home/available", "home/cam/available", "home/cam/objects/1", CONFIG):
                listener.wait(topic)

            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            listener.wait("home/available", b"offline")
            assert process.stderr is not None
            assert "was lost" in process.stderr.read()


def picture(jpeg: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def retained_by(broker: Mosquitto) -> dict[str, bytes]:
    """What the broker keeps."""
    with listening(broker) as listener:
        listener.wait("home/available")
        listener.client.publish("other/end", b"1", qos=1)
        listener.wait("other/end")
        return dict(listener.retained)


def test_a_silent_daemon_is_reported_as_offline(broker: Mosquitto, tmp_path: Path) -> None:
    with listening(broker) as listener, bridge(f"ipc://{tmp_path}/nothing", broker.port):
        listener.clear()
        listener.wait("home/available", b"offline")  # the bridge is there, its daemon is not


def test_login_accepts_any_characters_and_the_last_will_is_sent(daemon: DaemonProcess, tmp_path: Path) -> None:
    login = ("me", "p@ss/${word}")
    broker = Mosquitto(tmp_path, login)
    try:
        listener = Listener(broker.port, login)
        with (
            contextlib.closing(listener),
            bridge(daemon.endpoint, broker.port, "--no-discovery", login="me:${MQTT_PASSWORD}@") as process,
        ):
            listener.wait("home/cam/objects/1")
            listener.wait("home/available", b"online")
            assert CONFIG not in listener.retained
            process.kill()
            listener.wait("home/available", b"offline")
    finally:
        broker.kill()


@pytest.mark.slow
def test_a_bridge_whose_stream_has_the_prefix_of_another_ends(daemon: DaemonProcess, tmp_path: Path) -> None:
    """Whichever starts first: the one that works keeps its topics."""
    broker = Mosquitto(tmp_path)
    with listening(broker) as listener, bridge(daemon.endpoint, broker.port, prefix="home/cam"):
        listener.wait("home/cam/cam/available", b"online")
        with bridge(daemon.endpoint, broker.port, prefix="home") as outer:
            assert outer.wait(120) == 2
            assert outer.stderr is not None
            assert "another bridge publishes below 'home/cam'" in outer.stderr.read()
        listener.wait("home/cam/available", b"online")
    broker.kill()


def test_tls_verifies_the_broker(daemon: DaemonProcess, tmp_path: Path) -> None:
    """With the certificate of the broker's signer it publishes; without, it says why not and sends nothing."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *named, *files], check=True, capture_output=True)
    broker = Mosquitto(tmp_path, certificate=(certificate, key))
    listener = Listener(broker.port, ca_file=certificate)
    try:
        with bridge(daemon.endpoint, broker.port, scheme="mqtts") as stranger:
            assert stranger.stderr is not None
            said = next(line for line in stranger.stderr if "broker" in line)
            assert f"mqtts://127.0.0.1:{broker.port} has a certificate that is not trusted" in said
            assert "give --ca" in said
        assert not listener.retained
        with bridge(daemon.endpoint, broker.port, "--ca", str(certificate), scheme="mqtts"):
            listener.wait("home/available", b"online")
            assert listener.json("home/cam/objects/1")["label"] == "cup"
    finally:
        listener.close()
        broker.kill()
