from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from streamseg.config.docs import describe_setting, settings_table, with_settings_table
from streamseg.config.json_schema import json_schema
from streamseg.config.load import load_config
from streamseg.config.problems import path_name
from streamseg.config.validate import settings
from streamseg.config.yaml import read_document

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted(set((REPOSITORY / "configs").glob("*.yaml")) - {REPOSITORY / "configs" / "automask.yaml"})


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} >= {"webcam", "rtsp", "several_cameras", "file", "demo"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_right(path, monkeypatch, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.setenv("CLIP", str(tmp_path / "clip.mp4"))
    monkeypatch.setenv("CAM_PASSWORD", "p@ss")
    monkeypatch.setenv("STREAMSEG_TOKEN", "0123456789abcdef")
    config = load_config(path)
    assert config.streams
    Draft202012Validator(json_schema()).validate(read_document(path).tree)


def test_the_schema_is_valid_and_refuses_what_the_loader_refuses():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    stream = {"source": "scene:default"}
    assert validator.is_valid({"streams": {"cam": stream}, "x-anchors": [1]})
    assert validator.is_valid({"streams": {}})
    for wrong in (
        {},
        {"streams": {"Cam": stream}},
        {"streams": {"_cam": stream}},
        {"streams": {"cam": {**stream, "sorce": 1}}},
        {"streams": {"cam": {**stream, "stall_timeout_s": 0}}},
        {"streams": {"cam": stream}, "model": {"image_size": 500}},
        {"streams": {"cam": stream}, "extra": 1},
    ):
        assert not validator.is_valid(wrong), wrong


def test_every_setting_has_a_description():
    assert [path_name(path) for path, field in settings() if not describe_setting(field).endswith(".")] == []


def test_every_setting_is_in_the_documentation():
    text = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert [name for path, _ in settings() if f"`{(name := path_name(path))}`" not in text] == []


def test_the_table_in_the_documentation_is_up_to_date():
    text = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert settings_table() in text, "run `python -m streamseg.config.docs docs/configuration.md`"
    assert with_settings_table(text) == text


def test_the_table_is_rewritten_between_its_markers():
    old = "Before.\n\n<!-- settings -->\n| old |\n<!-- end of settings -->\n\nAfter.\n"
    new = with_settings_table(old)
    assert new == old.replace("| old |\n", settings_table())
    assert with_settings_table(new) == new
