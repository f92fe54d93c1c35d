"""The tracker against the official SAM2VideoPredictor, on the same preprocessed frames.

Reference mode: bit-exact. Product mode: within TOLERANCE. The tests can fail: memory that is one frame
too short differs far more.
"""

from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from bench.reference_predictor import ReferencePredictor
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model
from tests.made_once import SharedFolders
from tests.tracker.conftest import OfficialRun, once
from tests.tracker.shallow import shallow
from tests.tracker.tracker_scenes import (
    CLICK,
    HIDDEN,
    SCENARIOS,
    Add,
    Change,
    Events,
    Run,
    clip,
    difference,
    excite,
    frames_of,
    play,
    play_late,
    play_official,
)

TOLERANCE = 1e-3  # of a mask's logits, in their standard deviations; measured: see docs/tracker.md
SCORE_TOLERANCE = 1e-3
AGREEMENT = 0.995  # of a mask's pixels; one of 256 in the smallest masks here

LATE: Events = {
    2: [CLICK, Add(2, box=(0.2, 0.2, 0.6, 0.7)), Add(1, points=[(0.7, 0.3, 0)])],
    10: [Add(1, points=[(0.3, 0.6, 1)]), Add(7, mask=(0.1, 0.1, 0.4, 0.5))],
    15: [Add(2, mask=(0.5, 0.1, 0.9, 0.6)), Add(1, points=[(0.2, 0.2, 0)])],
}
PUBLISHED_EVENTS: Events = {
    0: [CLICK],
    5: [Add(2, box=(0.2, 0.3, 0.6, 0.7))],
    9: [Add(1, points=[(0.3, 0.3, 0)])],
}


def assert_same(wanted: Run, given: Run) -> None:
    assert wanted.tracked.keys() == given.tracked.keys()
    assert wanted.prompted.keys() == given.prompted.keys()
    for key, (logits, score) in wanted.tracked.items():
        assert torch.equal(logits, given.tracked[key][0]), key
        assert torch.equal(score, given.tracked[key][1]), key
    for key, (logits, score) in wanted.prompted.items():
        assert torch.equal(logits, given.prompted[key][0]), key
        assert torch.equal(score, given.prompted[key][1]), key


def assert_close(wanted: Run, given: Run) -> None:
    found = difference(wanted, given)
    assert found.logits < TOLERANCE, found
    assert found.score < SCORE_TOLERANCE, found
    assert found.agreement >= AGREEMENT, found


@pytest.mark.parametrize("name", SCENARIOS)
def test_reference_mode_is_bit_exact(name: str, official_run: OfficialRun, official_small: SAM2VideoPredictor) -> None:
    events = SCENARIOS[name]
    images = clip(frames_of(events), official_small.image_size)
    assert_same(official_run(events), play(ReferencePredictor(official_small), images, events))


@pytest.mark.parametrize("name", SCENARIOS)
def test_product_is_within_tolerance(
    name: str, official_run: OfficialRun, small: SAM2Base, partly_filled: Change
) -> None:
    events = SCENARIOS[name]
    run = play(partly_filled(CameraPredictor(small)), clip(frames_of(events), small.image_size), events)
    assert_close(official_run(events), run)


@pytest.mark.parametrize("late", [1, 9])
def test_prompts_that_come_late_are_those_on_time(
    late: int, small: SAM2Base, official_run: OfficialRun, partly_filled: Change
) -> None:
    """Prompts reach an older frame, and every frame since is tracked again: the reference had them on time."""
    images = clip(frames_of(LATE), small.image_size)
    run = play_late(partly_filled(CameraPredictor(small)), images, LATE, late)
    assert_close(official_run(LATE), run)


def test_product_predicts_the_reference_modes_iou(small: SAM2Base, official_small: SAM2VideoPredictor) -> None:
    images, events = clip(24, small.image_size), SCENARIOS["added, corrected, removed"]
    wanted, given = (
        play(ReferencePredictor(official_small), images, events),
        play(CameraPredictor(small), images, events),
    )
    assert wanted.ious.keys() == given.ious.keys()
    for key, iou in wanted.ious.items():
        assert iou.item() == pytest.approx(given.ious[key].item(), abs=1e-5), key


@pytest.mark.parametrize("name", SCENARIOS)
def test_objects_disappear_and_return(name: str, official_run: OfficialRun) -> None:
    tracked = official_run(SCENARIOS[name]).tracked
    for (frame, _), (logits, score) in tracked.items():
        assert (score <= 0) == (frame in HIDDEN)
        assert (logits == -1024).all() == (frame in HIDDEN)
    assert {frame for frame, _ in tracked} > HIDDEN


@pytest.mark.parametrize("short", [{"spatial_frames": 5}, {"pointer_frames": 14}], ids=["spatial", "pointers"])
def test_a_ring_one_slot_too_short_breaks_parity(
    short: dict[str, int], official_run: OfficialRun, small: SAM2Base
) -> None:
    events = SCENARIOS["one click"]
    run = play(CameraPredictor(small, **short), clip(frames_of(events), small.image_size), events)
    assert difference(official_run(events), run).logits > 10 * TOLERANCE


def test_one_conditioning_slot_too_few_breaks_parity(small: SAM2Base) -> None:
    events: Events = {0: [CLICK], 4: [Add(1, points=[(0.7, 0.6, 1)])], 8: [Add(1, points=[(0.2, 0.2, 0)])]}
    images = clip(16, small.image_size)
    whole = play(CameraPredictor(small, conditioning_frames=3), images, events)
    assert (
        difference(whole, play(CameraPredictor(small, conditioning_frames=2), images, events)).logits > 10 * TOLERANCE
    )


def test_evicted_conditioning_frames_are_the_reference_modes(
    small: SAM2Base, official_small: SAM2VideoPredictor
) -> None:
    """More corrections than slots: both keep the first and the newest."""
    events: Events = {0: [CLICK]} | {t: [Add(1, points=[(0.1 * (t // 2), 0.4, 1)])] for t in range(2, 12, 2)}
    images = clip(26, small.image_size)
    wanted = play(ReferencePredictor(official_small, conditioning_frames=3), images, events)
    assert_close(wanted, play(CameraPredictor(small, conditioning_frames=3), images, events))


def test_a_correction_lasts(small: SAM2Base) -> None:
    """The official default forgets a correction of a tracked frame; the tracker must not."""
    images = clip(26, small.image_size)
    plain = play(CameraPredictor(small), images, {0: [CLICK]})
    corrected = play(CameraPredictor(small), images, {0: [CLICK], 10: [Add(1, mask=(0.0, 0.0, 0.3, 0.3))]})
    for frame in range(1, 11):
        assert torch.equal(plain.tracked[frame, 1][0], corrected.tracked[frame, 1][0])
    assert all(not torch.allclose(plain.tracked[t, 1][0], corrected.tracked[t, 1][0], atol=1e-3) for t in (11, 17, 25))


@pytest.fixture(scope="module", params=[("sam2.1_hiera_t", 30), ("sam2_hiera_t", 16)], ids=lambda param: param[0])
def published(
    request: pytest.FixtureRequest, shared_folders: SharedFolders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SAM2Base, Tensor, Run]:
    """A published architecture with a shallow trunk, a clip, and the official predictor's run on it."""
    name, frames = request.param
    config, size = shallow(name, tmp_path_factory.mktemp("shallow")), 64
    images = clip(frames, size)

    def play_published() -> Run:
        official = build_reference_model(config, image_size=size)
        excite(official, attention=1.5)
        return play_official(official, images, PUBLISHED_EVENTS)

    model = build_model(config, image_size=size)
    excite(model, attention=1.5)
    return model, images, once(shared_folders, f"official {name}", play_published)


def test_published_architectures(published: tuple[SAM2Base, Tensor, Run], partly_filled: Change) -> None:
    """Four attention layers, and SAM 2.0's pointers without a temporal encoding."""
    model, images, wanted = published
    assert_close(wanted, play(partly_filled(CameraPredictor(model)), images, PUBLISHED_EVENTS))
