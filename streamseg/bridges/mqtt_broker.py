"""The connection to an MQTT broker, through paho-mqtt, which reconnects in its own thread."""

from __future__ import annotations

import logging
import os
import re
import secrets
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from streamseg.bridges.home_assistant import device_id
from streamseg.bridges.mqtt_inbox import BrokerInbox, Received
from streamseg.bridges.mqtt_state import OFFLINE, Publication
from streamseg.bridges.mqtt_topics import MqttTopics
from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

log = logging.getLogger(__name__)

PORT: Final = 1883
TLS_PORT: Final = 8883
_KEEPALIVE_S: Final = 30
_RECONNECT_S: Final = (1, 30)
_MAX_QUEUED: Final = 1000
_MAX_PAYLOAD: Final = 4096
_MAX_DESCRIPTION: Final = 1 << 20
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FORM: Final = "write mqtt://HOST:1883, or mqtts:// for TLS; with a login: 'mqtt://USER:${MQTT_PASSWORD}@HOST:1883'"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Address of a broker.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether the connection is encrypted.
        user: Empty without a login.
        password: Empty without one.
    """

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def broker_address(text: str, environment: Mapping[str, str] = os.environ) -> BrokerAddress:
    """Parse the address of a broker; ``${NAME}`` in its login is a variable of the environment.

    Raises:
        ConfigError: It is not one. The message does not contain the password.
    """
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("mqtt", "mqtts") or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"--broker is not the address of an MQTT broker: {_FORM}")
    tls = scheme == "mqtts"
    return BrokerAddress(
        host,
        port or (TLS_PORT if tls else PORT),
        tls,
        _filled(parts.username or "", environment),
        _filled(parts.password or "", environment),
    )


def _filled(text: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise ConfigError(f"--broker: the variable {match[1]} is not set: export {match[1]}=...")
        return environment[match[1]]

    # Values are inserted into the decoded text, so that a password may contain any character.
    return _VARIABLE.sub(value, unquote(text))


class Broker:
    """A connection to a broker, made and restored in the background.

    Args:
        address: Address of the broker.
        topics: Topics to subscribe to, and the topic of the last will.
        discovery_prefix: Home Assistant's; None: no discovery.
        ca_file: CA certificates for the broker; None: the system's.

    Attributes:
        received: Messages from the broker.
        lost: Publications that were dropped because too many were waiting for the broker.

    Raises:
        ConfigError: paho-mqtt is not installed, or the certificates cannot be read.
    """

    def __init__(
        self, address: BrokerAddress, topics: MqttTopics, discovery_prefix: str | None, ca_file: str | None = None
    ) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise ConfigError("the MQTT bridge needs paho-mqtt: pip install 'streamseg[mqtt]'") from None
        self._address = address
        self._topics = topics
        self._inventory = [*topics.retained]
        self._discovery = ""
        if discovery_prefix is not None:
            self._inventory.append(f"{discovery_prefix}/device/+/config")
            self._discovery = f"{discovery_prefix}/device/"
        self._fresh = threading.Event()
        self._reported = ""
        self.received = BrokerInbox()
        self.lost = 0
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"streamseg-{secrets.token_hex(6)}")
        client.max_queued_messages_set(_MAX_QUEUED)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.will_set(topics.available, OFFLINE, qos=1, retain=True)
        if address.user:
            client.username_pw_set(address.user, address.password or None)
        if address.tls:
            _use_tls(client, ca_file)
        client.on_connect = self._connected
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        self._client = client

    def start(self) -> None:
        """Connect in the background."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def connected_again(self) -> bool:
        """Return whether there is a new connection since the last call, which needs the whole state."""
        if not self._fresh.is_set():
            return False
        self._fresh.clear()
        return True

    def end_inventory(self) -> None:
        """Stop receiving our own topics: the retained ones have arrived."""
        for pattern in self._inventory:
            self._client.unsubscribe(pattern)
        self._client.subscribe(self._topics.snapshot_requests, qos=1)

    def publish(self, publication: Publication) -> None:
        """Publish. Without a connection, retained state is left to the next one, and up to 1000 events wait."""
        if publication.retain and not self._client.is_connected():
            return
        qos = 0 if publication.retain else 1
        sent = self._client.publish(publication.topic, publication.payload, qos=qos, retain=publication.retain)
        from paho.mqtt.client import MQTT_ERR_QUEUE_SIZE

        if sent.rc == MQTT_ERR_QUEUE_SIZE:
            self.lost += 1
            if self.lost == 1:
                log.warning("more than %d messages wait for the broker: newer ones are dropped", _MAX_QUEUED)

    def close(self, timeout_s: float = 2.0, *, announce: bool = True) -> None:
        """Announce that the bridge is offline, and disconnect. Blocks up to ``timeout_s``.

        Args:
            timeout_s: Longest wait for the broker.
            announce: Whether to announce it; not if another bridge continues.
        """
        if announce and self._client.is_connected():
            said = self._client.publish(self._topics.available, OFFLINE, qos=1, retain=True)
            try:
                said.wait_for_publish(timeout_s)
            except (RuntimeError, ValueError):
                log.warning("the broker was lost before it could be told that the bridge ends")
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._report(f"the broker {self._address} refuses the connection: {reason}")
            return
        log.info("connected to the broker %s", self._address)
        self._reported = ""
        for pattern in (*self._topics.claims, *self._inventory, self._topics.snapshot_requests):
            client.subscribe(pattern, qos=1)
        self._fresh.set()

    def _connect_failed(self, _client: Client, _data: Any) -> None:
        error = sys.exception()  # paho-mqtt calls this inside its except block
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"has a certificate that is not trusted ({error.verify_message}): give --ca the file of its signer"
        else:
            why = f"cannot be reached ({error})"
        self._report(f"the broker {self._address} {why}; trying again")

    def _disconnected(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._report(f"the connection to the broker {self._address} was lost ({reason}); connecting again")

    def _report(self, text: str) -> None:
        """Log a problem once until there is a connection, or another problem."""
        if text != self._reported:
            self._reported = text
            log.warning("%s", text)

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        discovery = bool(self._discovery) and topic.startswith(self._discovery)
        if discovery and not topic.startswith(f"{self._discovery}{device_id(self._topics.prefix, '')}"):
            return  # another program's device
        longest = _MAX_DESCRIPTION if discovery or topic == self._topics.daemon else _MAX_PAYLOAD
        payload = bytes(message.payload) if len(message.payload) <= longest else b""
        self.received.put(Received(topic, payload, bool(message.retain)))


def _use_tls(client: Client, ca_file: str | None) -> None:
    try:
        client.tls_set_context(ssl.create_default_context(cafile=ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--ca {ca_file!r} cannot be used: {error}") from None
