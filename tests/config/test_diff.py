"""What a reload can change, and what it cannot."""

from __future__ import annotations

from msgspec.structs import replace

from streamseg.config.diff import StreamDifference, changed_settings, difference
from streamseg.config.schema import Config, LogConfig, ModelConfig, PromptConfig, PublishConfig, StreamConfig

ONE, TWO = PromptConfig(object=1, box=(0, 0, 9, 9)), PromptConfig(object=2, points=((5, 5),))
STREAM = StreamConfig(source="scene:simple", prompts=(ONE, TWO))


def test_equal_settings_have_no_difference():
    assert difference(STREAM, replace(STREAM)) is None


def test_a_changed_source_setting_reopens_the_source():
    assert difference(STREAM, replace(STREAM, source="scene:leave")) == StreamDifference(True, (), ())
    assert difference(STREAM, replace(STREAM, stall_timeout_s=9.0)) == StreamDifference(True, (), ())


def test_prompts_and_policy_leave_the_source_alone():
    moved, three = replace(ONE, box=(5, 5, 9, 9)), PromptConfig(object=3, points=((1, 1),))
    found = difference(STREAM, replace(STREAM, prompts=(moved, three)))
    assert found == StreamDifference(False, removed=(2,), prompts=(moved, three))
    assert difference(STREAM, replace(STREAM, lost_after_s=1.0)) == StreamDifference(False, (), ())
    assert difference(STREAM, replace(STREAM, repeat_static=True)) == StreamDifference(False, (), ())


def test_changed_settings_are_named():
    before = Config(streams={"cam": STREAM})
    after = Config(
        streams={"cam": replace(STREAM, loop=True)},
        model=ModelConfig(device="cpu"),
        publish=PublishConfig(jpeg_quality=5),
        log=LogConfig(level="debug"),
    )
    assert changed_settings(before, before) == ()
    assert changed_settings(before, after) == ("model.device", "publish.jpeg_quality", "log.level")
