from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from quality_arms import tracker_arm
from quality_metrics import BoolMask
from quality_videos import (
    SCENE_FPS,
    Observation,
    composed_videos,
    follow,
    observe,
    scene_video,
    score_quality,
    score_table,
    video_table,
)

from streamseg.tracker.types import ObjectResult

SIZE = (8, 4)


def _mask(*columns: int) -> BoolMask:
    mask = np.zeros((SIZE[1], SIZE[0]), np.bool_)
    mask[:, list(columns)] = True
    return mask


def _result(mask: BoolMask, *, score: float = 0.9) -> ObjectResult:
    return ObjectResult(1, SIZE, (0, 0, *SIZE), mask, int(mask.sum()), (0, 0), score, 2.0)


def test_a_scene_is_scored_against_its_truth() -> None:
    score, observed = follow(scene_video("scene:simple?objects=2", 1), tracker_arm("nano", threads=1), "mask")
    assert (score.objects, score.frames, len(observed)) == (2, SCENE_FPS, 2 * (SCENE_FPS - 1))
    assert 0.5 < score.iou <= 1
    assert (score.hidden, score.identity) == (0, 0)
    assert score.ms_a_frame > 0
    assert "| scene:simple?objects=2 | mask | 2 | 15 |" in video_table([score])


def test_another_seed_gives_another_scene() -> None:
    first, other = (next(scene_video(f"scene:default?seed={seed}", 1).frames)[0] for seed in (501, 502))
    assert (first != other).any()


def test_composed_clips_have_truth_for_every_object(tmp_path: Path) -> None:
    nothing = {"coco": None, "renders": None, "more": None}  # backgrounds and objects are generated then
    (video,) = composed_videos(nothing, 1, 3, 64)
    frames = list(video.frames)
    assert len(frames) == 3
    assert all(mask.any() for mask in frames[0][1].values())


@pytest.mark.parametrize(
    ("mask", "iou", "elsewhere"),
    [(_mask(0, 1), 1, False), (_mask(4, 5), 0, True), (_mask(0, 4), 1 / 3, False), (_mask(6, 7), 0, False)],
)
def test_a_mask_on_another_object_is_a_wrong_identity(mask: BoolMask, iou: float, elsewhere: bool) -> None:
    seen = observe(_result(mask), {1: _mask(0, 1), 2: _mask(4, 5)}, "mask")
    assert seen.iou == pytest.approx(iou)
    assert seen.elsewhere == elsewhere
    assert seen.scores["score"] == 0.9


def test_scores_are_judged_only_where_an_object_or_a_mask_is() -> None:
    def seen(iou: float, score: float, *, in_sight: bool = True, found: bool = True) -> Observation:
        return Observation("click", iou, in_sight, found, False, True, {"score": score})

    observed = [seen(0.9, 0.8), seen(0.6, 0.7), seen(0.2, 0.75), seen(1.0, 0.0, in_sight=False, found=False)]
    (quality,) = score_quality(observed)
    assert (quality.masks, quality.bad) == (3, 1)
    assert quality.auroc == pytest.approx(0.5)
    # Two ranges: 0.8 with one good mask, and 0.725 on average with one good of two.
    assert quality.calibration_error == pytest.approx((0.2 + 2 * 0.225) / 3)
    assert "| score | click | 3 | 1 | 0.500 |" in score_table([quality])


def test_ranking_is_undefined_without_a_bad_mask() -> None:
    (quality,) = score_quality([Observation("mask", 0.9, True, True, False, True, {"score": 0.5})])
    assert math.isnan(quality.auroc)
