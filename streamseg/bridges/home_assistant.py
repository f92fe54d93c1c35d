"""Discovery payloads for Home Assistant in its device format: one device per stream.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery

Ours because packages for it own the MQTT connection, which the rest of the bridge needs, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, get_args

from streamseg.bridges.mqtt_topics import MqttTopics
from streamseg.protocol.published import EventKind, RegionCounts, StreamState

ORIGIN: Final = "streamseg"
"""Name of the origin in the payloads; tells ours from those of other programs."""

Component = dict[str, Any]


def device_id(prefix: str, stream: str) -> str:
    """Return the id of a stream's device, unique for each prefix."""
    return f"streamseg_{_safe(prefix)}_{stream}"


def discovery_topic(discovery_prefix: str, prefix: str, stream: str) -> str:
    """Return the topic of a stream's discovery payload."""
    return f"{discovery_prefix}/device/{device_id(prefix, stream)}/config"


def device_payload(
    topics: MqttTopics,
    stream: str,
    *,
    version: str,
    model: str,
    components: Mapping[str, Component],
    removed: Mapping[str, str],
) -> dict[str, Any]:
    """Return the discovery payload of a stream's device.

    Args:
        topics: Topics of the bridge.
        stream: Id of the stream.
        version: Version of the daemon.
        model: Name of the daemon's model.
        components: From :func:`components_of`.
        removed: From :func:`removed_components`: Home Assistant removes them.
    """
    ours = device_id(topics.prefix, stream)
    present = {name: component | {"unique_id": f"{ours}_{name}"} for name, component in components.items()}
    gone = {name: {"p": platform} for name, platform in removed.items()}
    return {
        "dev": {
            "ids": ours,
            "name": f"streamseg {stream}",
            "mf": "streamseg",
            "mdl": model,
            "sw": version,
        },
        "o": {"name": ORIGIN, "sw": version},
        "avty": [{"t": topics.available}],
        "cmps": present | gone,
    }


def components_of(
    topics: MqttTopics, stream: str, objects: Mapping[int, str], regions: RegionCounts | None
) -> dict[str, Component]:
    """Return the components of a stream's device by their ids.

    Args:
        topics: Topics of the bridge.
        stream: Id of the stream.
        objects: Id -> name of each object that has an entity.
        regions: Counts of zones and lines; only their names matter here.
    """
    online = {
        "avty": [{"t": topics.available}, {"t": topics.of_stream(stream, "available")}],
        "avty_mode": "all",
    }
    found = _general(topics, stream, online)
    for obj_id, label in objects.items():
        state = topics.of_stream(stream, "objects", str(obj_id))
        found[f"object_{obj_id}"] = online | {
            "p": "binary_sensor",
            "name": label or f"object {obj_id}",
            "stat_t": state,
            "val_tpl": "{{ 'ON' if value_json.visible else 'OFF' }}",
            "json_attr_t": state,
            "dev_cla": "occupancy",
        }
    if regions is not None:
        for zone in regions.inside:
            found.update(_zone(topics.of_stream(stream, "zones", zone), zone, online))
        for line in regions.forward:
            found.update(_line(topics.of_stream(stream, "lines", line), line, online))
    return found


def _general(topics: MqttTopics, stream: str, online: Component) -> dict[str, Component]:
    state = topics.of_stream(stream, "state")
    diagnostic = {"stat_t": state, "p": "sensor", "ent_cat": "diagnostic"}
    return {
        "state": diagnostic
        | {
            "name": "Source",
            "val_tpl": "{{ value_json.state }}",
            "dev_cla": "enum",
            "options": list(get_args(StreamState)),
            "json_attr_t": state,
        },
        "fps": online
        | diagnostic
        | {
            "name": "Masks per second",
            "val_tpl": "{{ value_json.fps_out }}",
            "unit_of_meas": "1/s",
            "stat_cla": "measurement",
        },
        "latency": online
        | diagnostic
        | {
            "name": "Latency",
            "val_tpl": "{{ value_json.latency_ms }}",
            "unit_of_meas": "ms",
            "dev_cla": "duration",
            "stat_cla": "measurement",
        },
        "objects": online
        | {
            "p": "sensor",
            "name": "Objects",
            "stat_t": state,
            "val_tpl": "{{ value_json.objects }}",
            "stat_cla": "measurement",
        },
        "event": {
            "p": "event",
            "name": "Event",
            "stat_t": topics.of_stream(stream, "events"),
            "event_types": list(get_args(EventKind)),
        },
        "snapshot": {
            "p": "image",
            "name": "Snapshot",
            "img_t": topics.of_stream(stream, "snapshot"),
            "cont_type": "image/jpeg",
        },
        "take_snapshot": online
        | {
            "p": "button",
            "name": "Take a snapshot",
            "cmd_t": topics.of_stream(stream, "snapshot", "get"),
        },
    }


def _zone(topic: str, name: str, online: Component) -> dict[str, Component]:
    return {
        f"zone_{name}": online
        | {
            "p": "binary_sensor",
            "name": f"Zone {name}",
            "stat_t": topic,
            "val_tpl": "{{ 'ON' if value_json.inside > 0 else 'OFF' }}",
            "dev_cla": "occupancy",
        },
        f"zone_{name}_inside": _count(topic, f"Objects in {name}", "inside", online, "measurement"),
        f"zone_{name}_entered": _count(topic, f"Entered {name}", "entered", online),
    }


def _line(topic: str, name: str, online: Component) -> dict[str, Component]:
    return {
        f"line_{name}_{way}": _count(topic, f"Crossed {name} {way}", way, online) for way in ("forward", "backward")
    }


def _count(topic: str, name: str, field: str, online: Component, state: str = "total_increasing") -> Component:
    return online | {
        "p": "sensor",
        "name": name,
        "stat_t": topic,
        "val_tpl": f"{{{{ value_json.{field} }}}}",
        "stat_cla": state,
    }


def _safe(prefix: str) -> str:
    """Return a prefix without slashes for an id; `a/b` and `a_b` stay different."""
    if "/" not in prefix:
        return prefix
    return f"{prefix.replace('/', '_')}_{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"


def removed_components(old: Mapping[str, Component], new: Mapping[str, Component]) -> dict[str, str]:
    """Return id -> platform of the components that a new payload no longer has."""
    return {name: str(component["p"]) for name, component in old.items() if name not in new}
