"""``find`` with nano, which sees parts and shadows where the tracker of colors sees objects."""

from __future__ import annotations

import pytest

from streamseg.config.schema import FindConfig, ModelConfig
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker
from tests.worker.find.scene_run import SceneRun


@pytest.mark.slow
def test_nano_finds_visitors_within_two_looks():
    tracker = create_tracker(ModelConfig(name="nano", device="cpu", engine="torch", dtype="float32", threads=1))
    stage = SceneRun(Scene("scene:visit"), tracker, FindConfig(every_s=2.0))
    frames = 450
    for n in range(0, frames, 3):
        stage.feed(n)
    assert len(stage.score.visits) >= 5
    assert stage.score.recall(frames) >= 0.9
    assert stage.score.duplicates <= 1
    assert stage.score.late_deaths == 0
