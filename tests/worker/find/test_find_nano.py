"""``find`` with nano, which sees parts and shadows where the tracker of colors sees objects."""

from __future__ import annotations

import pytest

from bench.find_score import FindScore
from bench.scene_run import FPS, SceneRun
from streamseg.config.schema import FindConfig
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker
from tests.nano_networks import NANO_ON_OPENVINO


@pytest.mark.slow
@pytest.mark.usefixtures("nano_networks")
def test_nano_finds_visitors_within_two_looks():
    tracker = create_tracker(NANO_ON_OPENVINO)
    tracker.warm_up(lambda _what, _share: None)
    stage = SceneRun(Scene("scene:visit"), tracker, FindConfig(every_s=2.0))
    frames = range(0, 450, 3)
    score = FindScore.of(stage.find.every_s, frames.step, FPS)
    for n in frames:
        stage.feed(n)
        score.add(n, stage.scene.truth(n), stage.masks(), stage.ids())
    assert len(score.visits) >= 5
    assert score.recall(frames.stop) >= 0.9
    assert score.duplicates <= 1
    assert score.late_deaths == 0
