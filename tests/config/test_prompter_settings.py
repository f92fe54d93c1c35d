"""Prompters in the configuration: errors name the setting, the value and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamseg.config.load import config_from_mapping
from streamseg.errors import ConfigError

HERE = Path(__file__)


def load(name: str = "mine", **settings: Any) -> Any:
    stream = {"source": "scene:simple", "prompters": {name: settings}}
    return config_from_mapping({"streams": {"cam": stream}}, base=HERE.parent).streams["cam"].prompters[name]


def test_an_own_file_is_found_beside_the_configuration() -> None:
    assert load(type=f"{HERE.name}:load", settings={"any": [1, {"thing": None}]}).type == f"{HERE}:load"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["prompters.mine.type", "is missing"]),
        ({"type": "yolo"}, ["prompters.mine.type", "'yolo' is not installed", "FILE.py:FUNCTION"]),
        ({"type": "absent.py:create"}, ["prompters.mine.type", "there is no file", "absent.py"]),
        ({"type": f"{HERE}:load", "every_s": 0}, ["prompters.mine.every_s: 0 is invalid", "0.1 to 3600"]),
        ({"type": f"{HERE}:load", "settings": 3}, ["prompters.mine.settings: 3 is invalid"]),
        ({"type": f"{HERE}:load", "min_area": 0.9}, ["prompters.mine.min_area", "not below max_area"]),
        ({"type": f"{HERE}:load", "ignore": [{"polygon": [[0, 0], [1, 1], [2, 2]]}]}, ["ignore[0].polygon", "no area"]),
        ({"type": f"{HERE}:load", "color": "red"}, ["prompters.mine.color", "no such setting"]),
        ({"type": "onx", "settings": {}}, ["did you mean onnx?"]),
        ({"type": "onnx"}, ["prompters.mine.settings.model", "is missing"]),
        ({"type": "onnx", "settings": {"model": "no.onnx"}}, ["settings.model: there is no file", "no.onnx"]),
        ({"type": "onnx", "settings": {"model": HERE.name, "scor": 1}}, ["settings.scor", "did you mean score?"]),
        (
            {"type": "onnx", "settings": {"model": HERE.name, "classes": ["a"], "only": ["b"]}},
            ["settings.only: 'b' is not in classes: write one of a"],
        ),
        ({"type": "faces", "settings": {"model": "no.onnx"}}, ["settings.model: there is no file"]),
        ({"type": "text", "settings": {"model": "nowhere", "texts": ["cup"]}}, ["settings.model", "config.json"]),
        ({"type": "text", "settings": {"model": "nowhere"}}, ["settings.texts", "is missing"]),
        ({"name": "My Detector", "type": f"{HERE}:load"}, ["prompters.My Detector", "use a-z, 0-9, _ and -"]),
    ],
)
def test_problems_are_reported(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(**settings)
    for word in words:
        assert word in str(error.value)
