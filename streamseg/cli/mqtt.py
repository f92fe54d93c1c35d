"""``streamseg mqtt``: a bridge to MQTT and Home Assistant."""

from __future__ import annotations

from typing import Annotated

import typer

from streamseg.cli.daemon_options import Key, ServerKey
from streamseg.protocol.topics import DEFAULT_ENDPOINT


def mqtt(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where the daemon publishes.")] = DEFAULT_ENDPOINT,
    broker: Annotated[
        str,
        typer.Option(
            metavar="URL", help="mqtt://[USER:PASSWORD@]HOST[:1883], or mqtts:// for TLS; ${NAME} is allowed."
        ),
    ] = "mqtt://127.0.0.1:1883",
    prefix: Annotated[str, typer.Option(metavar="TOPIC", help="Prefix of topics; one per daemon.")] = "streamseg",
    discovery: Annotated[
        str, typer.Option(metavar="TOPIC", help="Home Assistant's discovery prefix.")
    ] = "homeassistant",
    no_discovery: Annotated[bool, typer.Option("--no-discovery", help="Announce nothing to Home Assistant.")] = False,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this stream; repeat for several. Default: all.")
    ] = None,
    interval: Annotated[
        float,
        typer.Option(min=0, metavar="S", help="Shortest time between two messages about an object that only moves."),
    ] = 1.0,
    ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="CA certificates for mqtts://. Default: those of the system.")
    ] = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Publish the state of a daemon to an MQTT broker, with discovery for Home Assistant, until Ctrl-C.

    [bold]Examples[/bold]

      streamseg mqtt --broker mqtt://192.168.1.2

      streamseg mqtt --broker 'mqtt://streamseg:${MQTT_PASSWORD}@192.168.1.2'
    """
    from streamseg.bridges.mqtt import MqttSettings, run_bridge
    from streamseg.bridges.mqtt_broker import broker_address
    from streamseg.bridges.mqtt_topics import checked_prefix
    from streamseg.cli.until_signal import ended_by_signal
    from streamseg.common.logs import setup_logging
    from streamseg.config.schema import LogConfig

    settings = MqttSettings(
        endpoint=endpoint,
        broker=broker_address(broker),
        prefix=checked_prefix(prefix, "--prefix"),
        discovery_prefix=None if no_discovery else checked_prefix(discovery, "--discovery"),
        streams=tuple(stream) if stream else None,
        interval_s=interval,
        ca_file=ca,
        key_file=key,
        server_key=server_key,
    )
    setup_logging(LogConfig(), "mqtt")
    run_bridge(settings, ended_by_signal().is_set)
