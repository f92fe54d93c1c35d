"""Publishes the state of a daemon to an MQTT broker (docs/howto/mqtt.md).

The loop here owns the state; the threads of paho-mqtt and of snapshots only hand over messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamseg.bridges.mqtt_broker import Broker, BrokerAddress
from streamseg.bridges.mqtt_claim import PrefixClaim
from streamseg.bridges.mqtt_snapshots import Snapshots
from streamseg.bridges.mqtt_state import MqttState, Publication
from streamseg.bridges.mqtt_topics import MqttTopics
from streamseg.client import Message, Subscriber
from streamseg.errors import ConfigError, SubscribeTimeoutError
from streamseg.protocol.topics import DAEMON

log = logging.getLogger(__name__)

_TURN_S: Final = 0.2
_FRAMES_HZ: Final = 5.0
_INVENTORY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Settings of a bridge.

    Attributes:
        endpoint: Where the daemon publishes.
        broker: Where the broker is.
        prefix: Prefix of all topics.
        discovery_prefix: Home Assistant's; None: no discovery.
        streams: Ids of streams; None: all, including those added later.
        interval_s: Shortest time between two messages about an object if only place and confidence change.
        ca_file: CA certificates for the broker.
        key_file: Key of this program, for a daemon that requires one.
        server_key: The daemon's public key, if it is not in that file.
    """

    endpoint: str
    broker: BrokerAddress
    prefix: str = "streamseg"
    discovery_prefix: str | None = "homeassistant"
    streams: tuple[str, ...] | None = None
    interval_s: float = 1.0
    ca_file: str | None = None
    key_file: Path | None = None
    server_key: str | None = None


def run_bridge(settings: MqttSettings, stopped: Callable[[], bool]) -> None:
    """Publish until ``stopped()``. Daemon and broker may come and go.

    Raises:
        ConfigError: A setting is invalid, paho-mqtt is not installed, or another bridge has the prefix.
    """
    topics = MqttTopics(settings.prefix)
    broker = Broker(settings.broker, topics, settings.discovery_prefix, settings.ca_file)
    with Subscriber(
        settings.endpoint,
        streams=None if settings.streams is None else (*settings.streams, DAEMON),
        kinds=["objects", "events", "status"],
        max_rate_hz=_FRAMES_HZ,
        key_file=settings.key_file,
        server_key=settings.server_key,
    ) as subscriber:
        snapshots = Snapshots(
            settings.endpoint, topics, broker.publish, key_file=settings.key_file, server_key=settings.server_key
        )
        broker.start()
        state = MqttState(topics, settings.discovery_prefix, settings.interval_s, settings.streams)
        bridge = _Bridge(state, broker, snapshots, topics)
        try:
            bridge.run(subscriber, stopped)
        finally:
            snapshots.close()
            broker.close(announce=not bridge.yielded)


class _Bridge:
    """The loop of a bridge.

    Attributes:
        yielded: Whether it stopped because another bridge has the prefix.
    """

    def __init__(self, state: MqttState, broker: Broker, snapshots: Snapshots, topics: MqttTopics) -> None:
        self._state = state
        self._broker = broker
        self._snapshots = snapshots
        self._topics = topics
        self._claim = PrefixClaim()
        self._claimed: frozenset[str] = frozenset()
        self._inventory_until_s = float("inf")
        self.yielded = False

    def run(self, subscriber: Subscriber[Message], stopped: Callable[[], bool]) -> None:
        """Publish until ``stopped()``.

        Raises:
            ConfigError: Another bridge has the prefix.
        """
        while not stopped():
            try:
                message: Message | None = subscriber.receive(_TURN_S)
            except SubscribeTimeoutError:
                message = None
            if self._broker.connected_again():
                self._claim.begin()
                self._send_claim(self._topics.claim())
                self._claimed = frozenset()
                self._inventory_until_s = time.monotonic() + _INVENTORY_S
            self._take_received()
            if self._claim.granted():
                self._publish(self._state.everything())
            if message is not None:
                self._publish(self._state.feed(message))
                self._claim_streams()
            self._publish(self._state.check())
            if not self._claim.waiting:
                self._publish(self._state.remove_leftovers())
            if time.monotonic() > self._inventory_until_s:
                self._inventory_until_s = float("inf")
                self._broker.end_inventory()

    def _publish(self, publications: Iterable[Publication]) -> None:
        for publication in publications:
            if not (self._claim.waiting and publication.retain):  # the whole state is published after the wait
                self._broker.publish(publication)

    def _send_claim(self, topic: str) -> None:
        self._broker.publish(Publication(topic, self._claim.payload(), retain=False))

    def _claim_streams(self) -> None:
        """Claim the topics of streams added since the last connection."""
        for stream in self._state.streams - self._claimed:
            self._send_claim(self._topics.claim(stream))
        self._claimed = self._state.streams

    def _compare_claim(self, topic: str, payload: bytes) -> None:
        yields = self._claim.yields_to(payload)
        if yields:
            self.yielded = True
            prefix = topic.removesuffix("/bridge")
            raise ConfigError(f"another bridge publishes below {prefix!r} at this broker: give one of them --prefix")
        if yields is False:
            self._send_claim(topic)
            self._publish(self._state.everything())  # the other one may have published there before it stops

    def _take_received(self) -> None:
        while (received := self._broker.received.take()) is not None:
            topic, payload, retained = received
            stream = self._topics.requested_stream(topic)
            claimed = self._topics.claimed_stream(topic)
            if topic == self._topics.claim() or (claimed is not None and self._state.has_stream(claimed)):
                self._compare_claim(topic, payload)
            elif claimed is not None:
                continue
            elif stream is None:
                if retained:
                    self._state.found_retained(topic, payload)
            elif retained:
                log.warning("%s is retained, so it is not a request: publish it without the flag", topic)
            elif self._state.has_stream(stream):
                self._snapshots.request(stream, payload)
            else:
                log.warning("a snapshot of %s was requested, and there is no such stream", stream)
