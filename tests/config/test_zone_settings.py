"""Zones and lines in the configuration: errors name the setting, the value and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from streamseg.config.load import config_from_mapping
from streamseg.errors import ConfigError

SQUARE = [[0, 0], [10, 0], [10, 10]]


def load(**settings: Any) -> Any:
    return config_from_mapping({"streams": {"cam": {"source": "scene:simple", **settings}}}).streams["cam"]


def test_they_are_read_with_their_defaults() -> None:
    stream = load(zones={"door": {"polygon": SQUARE}}, lines={"gate": {"start": [0, 0], "end": [5, 5]}})
    assert (stream.zones["door"].share, stream.zones["door"].coords) == (0.5, "pixels")
    assert stream.lines["gate"].end == (5, 5)
    assert load(zones={}).zones == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"zones": {"Door 1": {"polygon": SQUARE}}}, ["zones.Door 1", "a-z, 0-9"]),
        ({"zones": {"door": {"polygon": [[0, 0], [1, 1]]}}}, ["zones.door.polygon", "3"]),
        ({"zones": {"door": {"polygon": [[0, 0], [1, 1], [2, 2]]}}}, ["zones.door.polygon", "no area"]),
        ({"zones": {"door": {"polygon": SQUARE, "coords": "normalized"}}}, ["[10.0, 0.0]", "coords: pixels"]),
        ({"zones": {"door": {"polygon": [[0, 0], [-1, 0], [1, 1]]}}}, ["zones.door.polygon"]),
        ({"zones": {"door": {"polygon": [[0, 0], [float("inf"), 0], [1, 1]]}}}, ["zones.door.polygon"]),
        ({"zones": {"door": {"polygon": [[0, 0], [10, 0]]}}}, ["3 to 64 lists of 2 numbers"]),
        ({"zones": {"door": {"polygon": [[0, 0], [1e30, 0], [9, 9]]}}}, ["zones.door.polygon", "no picture has"]),
        ({"lines": {"gate": {"start": [0, 0], "end": [3e9, 5]}}}, ["lines.gate", "no picture has"]),
        ({"zones": {"door": {"polygon": [[0, 0], [9, 9], [9, 0], [0, 9]]}}}, ["zones.door.polygon", "crosses itself"]),
        ({"zones": {"door": {"polygon": [[0.1, 0.1], [0.9, 0.1], [1, 1]]}}}, ["zones.door.polygon", "normalized"]),
        ({"lines": {"gate": {"start": [0, 0.5], "end": [1, 0.5]}}}, ["lines.gate", "set coords to normalized"]),
        ({"zones": {"door": {"polygon": SQUARE, "share": 0}}}, ["zones.door.share", "above 0"]),
        ({"zones": {f"z{n}": {"polygon": SQUARE} for n in range(33)}}, ["zones"]),
        ({"zones": [SQUARE]}, ["zones"]),
        ({"lines": {"gate": {"start": [0, 0], "end": [0, 0]}}}, ["lines.gate", "two ends"]),
        ({"lines": {"gate": {"start": [0, 0]}}}, ["lines.gate.end", "missing"]),
        ({"lines": {"gate": {"start": [0, 0], "end": [2, 0], "coords": "normalized"}}}, ["lines.gate", "0..1"]),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**settings)
    for word in words:
        assert word in str(caught.value)
