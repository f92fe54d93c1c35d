"""What is published when, without a broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamseg.bridges.mqtt_broker import broker_address
from streamseg.bridges.mqtt_claim import PrefixClaim
from streamseg.bridges.mqtt_inbox import BrokerInbox, Received
from streamseg.bridges.mqtt_snapshots import Snapshots
from streamseg.bridges.mqtt_state import MqttState, Publication
from streamseg.bridges.mqtt_topics import MqttTopics, checked_prefix
from streamseg.client.assembly import assemble
from streamseg.errors import ConfigError
from tests.client.conftest import Messages

OBJECT = "streamseg/cam1/objects/1"


class Fed:
    """A state that is fed golden messages, and its clock."""

    def __init__(self, interval_s: float = 1.0) -> None:
        self.now_s = 0.0
        self.state = MqttState(MqttTopics("streamseg"), "homeassistant", interval_s, now_s=lambda: self.now_s)
        self.golden = Messages()
        self("daemon_status", streams=["cam1"])
        self("status", paused=False)

    def __call__(self, name: str, **changes: Any) -> dict[str, bytes]:
        return {said.topic: said.payload for said in self.state.feed(assemble(self.golden(name, **changes)))}

    def objects(self, *changes: dict[str, Any]) -> dict[str, bytes]:
        (_, header, *_) = self.golden("objects")
        first = json.loads(header)["objects"][0]
        return self("objects", objects=[first | change for change in changes])


def test_a_change_of_state_is_published_at_once_and_other_changes_now_and_then() -> None:
    fed = Fed(interval_s=2)
    assert OBJECT in fed.objects({"area": 10})
    assert OBJECT not in fed.objects({"area": 11})
    assert json.loads(fed.objects({"area": 12, "state": "lost"})[OBJECT])["state"] == "lost"
    fed.now_s = 2.0
    assert OBJECT not in fed.objects({"area": 12, "state": "lost"})  # nothing has changed
    assert OBJECT in fed.objects({"area": 13, "state": "lost"})


def test_an_object_is_forgotten_by_its_event_or_when_it_stays_away() -> None:
    fed = Fed()
    fed.objects({"id": 1}, {"id": 2})
    gone = fed("event_object", kind="object_removed", object=2)
    assert gone["streamseg/cam1/objects/2"] == b""
    assert fed.objects() == {}  # a new worker begins without objects
    fed("status", paused=True)
    fed.now_s = 10.0
    assert OBJECT not in fed.objects()  # a paused stream keeps them
    fed("status", paused=False)
    assert fed.objects()[OBJECT] == b""


def test_objects_that_were_found_have_a_topic_but_no_entity() -> None:
    fed = Fed()
    said = fed.objects({"origin": "auto"})
    assert list(said) == [OBJECT]


def test_a_stream_that_is_removed_leaves_nothing() -> None:
    fed = Fed()
    fed.objects({})
    said = fed("daemon_status", streams=[])
    config = "homeassistant/device/streamseg_streamseg_cam1/config"
    assert {topic for topic, payload in said.items() if not payload} >= {OBJECT, config, "streamseg/cam1/state"}
    assert [said.topic for said in fed.state.everything()] == ["streamseg/available", "streamseg/daemon"]


def test_what_others_retain_is_left_alone() -> None:
    fed = Fed()
    for payload in (
        b"{",
        b"[]",
        b"{}",
        b'{"o": {"name": "streamseg"}}',
        b'{"o": {"name": "zigbee"}, "avty": [{"t": "streamseg/available"}]}',
    ):
        fed.state.found_retained("homeassistant/device/other/config", payload)
    assert list(fed.state.remove_leftovers()) == []


def test_leftovers_of_streams_that_a_former_bridge_named_are_removed() -> None:
    fed = Fed()
    config = "homeassistant/device/streamseg_streamseg_old/config"
    ours = b'{"o": {"name": "streamseg"}, "avty": [{"t": "streamseg/available"}], "dev": {"ids": "%s"}}'
    found = ("streamseg/old/state", "streamseg/old/zones/door", "streamseg/cam1/objects/7", config)
    others = (
        "streamseg/old/set",
        "streamseg/lamp/state",
        "streamseg/old/cam/state",
        "streamseg/available",
        "old/state",
    )
    fed("status", paused=False)
    for topic in (*found[:3], *others):
        fed.state.found_retained(topic, b"1")
    fed.state.found_retained(config, ours % b"streamseg_streamseg_old")
    fed.state.found_retained("homeassistant/device/mine/config", ours % b"streamseg_streamseg_old")
    assert {said.topic for said in fed.state.remove_leftovers()} == set(found)
    assert list(fed.state.remove_leftovers()) == []
    fed.state.found_retained("streamseg/daemon", b'{"streams": ["lamp"]}')  # of another program
    assert list(fed.state.remove_leftovers()) == []
    former = b'{"streams": ["lamp"], "version": "", "model": "", "engine": "", "recording_stopped": ""}'
    fed.state.found_retained("streamseg/daemon", former)
    assert [said.topic for said in fed.state.remove_leftovers()] == ["streamseg/lamp/state"]


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"1", b'{"bridge": 1}', b"\xff", b"[" * 4096])
def test_messages_that_are_neither_claim_nor_description_are_ignored(payload: bytes) -> None:
    assert PrefixClaim().yields_to(payload) is None
    fed = Fed()
    for topic in ("streamseg/daemon", "homeassistant/device/streamseg_streamseg_old/config"):
        fed.state.found_retained(topic, payload)
    assert list(fed.state.remove_leftovers()) == []


def test_the_older_bridge_keeps_its_prefix() -> None:
    now_s = 0.0
    older, newer = (PrefixClaim(lambda: now_s) for _ in range(2))
    older.begin()
    assert (older.granted(), older.waiting) == (False, True)
    now_s = 2.0
    assert (older.granted(), older.waiting, older.granted()) == (True, False, False)
    newer.begin()
    assert older.yields_to(newer.payload()) is False
    assert newer.yields_to(older.payload()) is True
    assert older.yields_to(older.payload()) is None
    third = PrefixClaim()  # of two that start at once one goes on
    assert newer.yields_to(third.payload()) is not third.yields_to(newer.payload())


def test_messages_from_the_broker_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    inbox = BrokerInbox()
    for _ in range(20):
        inbox.put(Received("a", bytes(2**20), retained=True))
    assert inbox.lost == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"too many messages from the broker at once: {lost} are lost" for lost in (1, 2, 4)
    ]
    inbox.take()
    inbox.put(Received("b", b"", retained=False))
    while (last := inbox.take()) is not None:
        topic = last.topic
    assert topic == "b"


def test_closing_does_not_wait_for_a_snapshot(tmp_path: Path) -> None:
    said: list[Publication] = []
    snapshots = Snapshots(f"ipc://{tmp_path}/nothing", MqttTopics("streamseg"), said.append)
    snapshots.request("cam", b"")
    snapshots.close()  # nothing answers for ten seconds
    assert said == []


@pytest.mark.parametrize(
    "text", ["broker", "http://broker", "mqtt://", "mqtt://a:b:c", "mqtt://h/topic", "mqtt://:p@:1"]
)
def test_invalid_broker_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write mqtt://HOST:1883"):
        broker_address(text)


def test_broker_addresses_take_passwords_from_the_environment() -> None:
    address = broker_address("mqtts://a%40b:${P}@h", {"P": "x%41${Q}"})
    assert (address.user, address.password, address.port) == ("a@b", "x%41${Q}", 8883)
    assert "x%41" not in f"{address} {address!r}"
    with pytest.raises(ConfigError, match="export P="):
        broker_address("mqtt://a:${P}@h", {})
    with pytest.raises(ConfigError, match="--prefix"):
        checked_prefix("a/#", "--prefix")
