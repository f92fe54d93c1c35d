from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import quality
from quality import davis_table, read_annotation, score_folder
from quality_arms import (
    BoxTrackerArm,
    CopyArm,
    FlowArm,
    Picture,
    PromptKind,
    bounding_box,
    make_prompt,
    tracker_arm,
)
from quality_metrics import BoolMask, region_similarity
from quality_videos import Observation

from streamseg.models.registry import find
from tests.bench.toy_masks import FRAMES, HEIGHT, SIDE, STEP, WIDTH, square_at


class _Oracle:
    """Knows the truth of `one`; fails if it is asked out of order or for the first frame."""

    def start(self, picture: Picture, truth: BoolMask, kind: PromptKind) -> None:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_array_equal(truth, square_at(0))
        self.frame = 0

    def track(self, picture: Picture) -> BoolMask:
        self.frame += 1
        return square_at(self.frame)


def test_the_truth_scores_one_and_the_first_frame_is_not_tracked(toy_folder: Path) -> None:
    oracle = _Oracle()
    (score,) = score_folder(toy_folder, "oracle", "mask", oracle, ["one"])
    assert (score.j, score.f, score.frames) == (1, 1, FRAMES)
    assert oracle.frame == FRAMES - 1


def test_a_copied_mask_scores_its_geometric_overlap(toy_folder: Path) -> None:
    (score,) = score_folder(toy_folder, "copy", "mask", CopyArm(), ["one"])
    expected = [(SIDE - STEP * n) / (SIDE + STEP * n) for n in range(1, FRAMES)]
    assert score.j == pytest.approx(np.mean(expected))


def test_every_object_of_a_palette_counts(toy_folder: Path) -> None:
    assert set(np.unique(read_annotation(toy_folder / "Annotations" / "two" / "00000.png"))) == {0, 1, 2}
    one, two = score_folder(toy_folder, "copy", "mask", CopyArm())
    assert two.j == pytest.approx((one.j + 1) / 2)


@pytest.mark.parametrize(("arm", "least"), [(FlowArm(), 0.75), (BoxTrackerArm(), 0.5)])
def test_the_alternatives_follow_a_textured_square(
    toy_folder: Path, arm: FlowArm | BoxTrackerArm, least: float
) -> None:
    (copied,) = score_folder(toy_folder, "copy", "mask", CopyArm(), ["one"])
    (score,) = score_folder(toy_folder, "arm", "mask", arm, ["one"])
    assert score.j > least
    if isinstance(arm, FlowArm):
        assert score.j > copied.j


def test_prompts_are_made_from_the_truth() -> None:
    truth = square_at(0)
    assert make_prompt(1, truth, "box").box == (10, 20, 10 + SIDE, 20 + SIDE)
    (point,) = make_prompt(1, truth, "click").points
    assert truth[int(point.y), int(point.x)]
    assert abs(point.x - (10 + SIDE / 2)) <= 1
    np.testing.assert_array_equal(make_prompt(1, truth, "mask").mask, truth)
    assert bounding_box(truth) == (10, 20, 10 + SIDE, 20 + SIDE)


def test_the_command_reports_our_tracker_with_machine_and_versions(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, table = tmp_path / "result.json", tmp_path / "result.md"
    arguments = ["--davis", str(toy_folder), "--sequences", "one", "--prompts", "mask", "--only-model"]
    monkeypatch.setattr(
        sys, "argv", ["quality.py", *arguments, "--threads", "1", "--json", str(result), "--markdown", str(table)]
    )
    quality.main()
    report = json.loads(result.read_text())
    assert {"processor", "threads", "python", "torch", "opencv"} <= report["machine"].keys()
    (row,) = report["davis"]
    assert (row["arm"], row["prompt"], row["sequence"]) == ("nano", "mask", "one")
    assert 0 <= row["j"] <= 1
    assert row["ms_a_frame"] > 0
    assert "| nano | mask |" in table.read_text()


def test_the_table_shows_means(toy_folder: Path) -> None:
    scores = list(score_folder(toy_folder, "copy", "mask", CopyArm()))
    mean_j = 100 * np.mean([score.j for score in scores])
    assert f"| {mean_j:.1f} |" in davis_table(scores)


def test_j_of_empty_predictions_is_zero() -> None:
    assert region_similarity(np.zeros((4, 4), np.bool_), np.eye(4, dtype=np.bool_)) == 0


def test_own_weights_use_the_config_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = find("nano").packaged
    monkeypatch.setattr(
        sys, "argv", ["quality.py", "--weights", str(weights), "--scenes", "simple?objects=1", "--seconds", "0.2"]
    )
    quality.main()


def test_published_scores_of_each_mask_are_collected(toy_folder: Path) -> None:
    observed: list[Observation] = []
    arm = tracker_arm("nano", threads=1)
    list(score_folder(toy_folder, "nano", "click", arm, ["one"], observed))
    assert len(observed) == FRAMES - 1
    assert {one.prompt for one in observed} == {"click"}
    assert all(0 <= value <= 1 for one in observed for value in one.scores.values())
