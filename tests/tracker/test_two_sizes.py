"""Streams that are switched between two sizes of the model's input while objects are tracked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.config.schema import ModelConfig
from streamseg.errors import NothingToUndoError
from streamseg.models.tuning import Confidence
from streamseg.sources.scene.source import Scene
from streamseg.tracker.create import create_tracker, smaller_side
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.memory_policy import MemoryPolicy
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.stream_memory import for_input
from streamseg.tracker.two_sizes import TwoSizeTracker
from streamseg.tracker.types import Point, Prompt
from tests.tracker.conftest import SMALL_SAM2
from tests.tracker.test_sam2_tracker import frame
from tests.tracker.tracker_scenes import excite, show

FULL, SMALLER = 96, 64


def around(model: SAM2Base, policy: str = "sam2") -> Sam2Tracker:
    predictor = CameraPredictor(model, max_objects=3, policy=MemoryPolicy(policy))
    preprocess = Preprocessor(model.image_size, torch.device("cpu"), torch.float32)
    return Sam2Tracker(
        predictor, preprocess, confidence=Confidence(signals=("iou", "color"), weights=(1.0, 1.0), bias=0.0)
    )


def built(image_size: int) -> SAM2Base:
    model = build_model(SMALL_SAM2, image_size=image_size)
    excite(model)
    show(model, 0)
    return model


@pytest.fixture(scope="module")
def full() -> SAM2Base:
    return built(FULL)


@pytest.fixture(scope="module")
def smaller() -> SAM2Base:
    return built(SMALLER)


@pytest.fixture(params=["sam2", "contact"])
def tracker(request: pytest.FixtureRequest, full: SAM2Base, smaller: SAM2Base) -> TwoSizeTracker:
    tracker = TwoSizeTracker(around(full, request.param), lambda: around(smaller, request.param))
    for stream in ("a", "b"):
        tracker.open_stream(stream)
        tracker.track({stream: frame(0)})
    for obj_id in (7, 3, 5):
        tracker.add_prompt("a", Prompt(obj_id, box=(40, 20, 100, 60)))
    tracker.track({"a": frame(1)})
    return tracker


def ready(tracker: TwoSizeTracker) -> TwoSizeTracker:
    assert tracker.prepare_smaller_input(lambda _what, _share: None) == SMALLER
    return tracker


def test_an_unprepared_size_is_not_chosen(tracker: TwoSizeTracker) -> None:
    assert tracker.choose_input("a", smaller=True) is None
    assert TwoSizeTracker(tracker._full, None).prepare_smaller_input(lambda _what, _share: None) is None
    assert [smaller_side(side) for side in (64, 96, 256, 320, 1024)] == [64, 64, 192, 256, 768]


def test_all_objects_go_on_with_the_other_size(tracker: TwoSizeTracker) -> None:
    ready(tracker).hold_frame("a", "finder", 0)
    tracker.set_aside("a", 3)
    for number, (less, side) in enumerate(((True, SMALLER), (True, SMALLER), (False, FULL)), start=2):
        assert tracker.choose_input("a", smaller=less) == side
        results = tracker.track({"a": frame(number)})["a"]
        assert [(result.obj_id, result.size) for result in results] == [(7, (160, 90)), (5, (160, 90))]
        assert all(result.area and np.isfinite(result.iou_prediction) for result in results)
        assert tracker._trackers["a"].image_size == side
    assert tracker.bring_back("a", 3).area
    assert [result.obj_id for result in tracker.track({"a": frame(5)})["a"]] == [7, 5, 3]
    assert tracker.find_frame("a", 1) == 1
    assert tracker.preview("a", Prompt(9, points=(Point(80, 45),)), 0, fresh=True).frame_id == 0
    tracker.add_prompt("a", Prompt(7, points=(Point(80, 45),)), 4)
    tracker.undo_prompt("a", 7)
    with pytest.raises(NothingToUndoError):
        tracker.undo_prompt("a", 7)
    tracker.close_stream("a")
    assert not tracker._trackers.keys() & {"a"}


def test_an_id_that_was_given_again_keeps_its_object(tracker: TwoSizeTracker) -> None:
    ready(tracker).set_aside("a", 3)
    tracker.add_prompt("a", Prompt(3, box=(40, 20, 100, 60)))
    for number, less in enumerate((True, False), start=2):
        tracker.choose_input("a", smaller=less)
        results = tracker.track({"a": frame(number)})["a"]
        assert [(result.obj_id, result.area > 0) for result in results] == [(7, True), (5, True), (3, True)]
    tracker.drop_aside("a", 3)
    tracker.remove_object("a", 3)


def test_a_forgotten_object_still_waits_for_a_prompt(tracker: TwoSizeTracker) -> None:
    ready(tracker)._full._predictor.forget_object("a", 3)
    tracker.choose_input("a", smaller=True)
    results = tracker.track({"a": frame(2)})["a"]
    assert [(result.obj_id, result.area > 0) for result in results] == [(7, True), (3, False), (5, True)]
    assert tracker.add_prompt("a", Prompt(3, box=(40, 20, 100, 60))).current.area


def test_a_switch_that_fails_changes_nothing(tracker: TwoSizeTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = ready(tracker)._smaller
    assert smaller is not None
    free = len(smaller._predictor._free_lanes), smaller._predictor.bank.lanes
    with monkeypatch.context() as broken:
        broken.setattr(smaller._preprocess, "resize_pixels", lambda _pixels: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.choose_input("a", smaller=True)
    assert smaller._predictor.bank.lanes - len(smaller._predictor._free_lanes) == free[1] - free[0]
    assert tracker.preview("a", Prompt(9, points=(Point(80, 45),)), fresh=True).frame_id == 1
    assert [result.obj_id for result in tracker.track({"a": frame(2)})["a"]] == [7, 3, 5]
    assert tracker.choose_input("a", smaller=True) == SMALLER


def test_the_newest_frame_can_be_prompted_after_a_switch(tracker: TwoSizeTracker) -> None:
    ready(tracker).remove_object("a", 3)
    for less in (True, False):
        tracker.choose_input("a", smaller=less)
        assert tracker.preview("a", Prompt(9, points=(Point(80, 45),)), fresh=True).frame_id == 1
        assert tracker.add_prompt("a", Prompt(7, points=(Point(80, 45),))).current.area
        assert tracker.add_prompt("a", Prompt(3, box=(40, 20, 100, 60))).current.area
        assert list(tracker.candidates("a", [(0.5, 0.5)]))
        tracker.remove_object("a", 3)
    assert [result.obj_id for result in tracker.track({"a": frame(2)})["a"]] == [7, 5]


def test_a_held_frame_stays_held_after_a_switch(tracker: TwoSizeTracker) -> None:
    ready(tracker).hold_frame("a", "look", 0)
    tracker.choose_input("a", smaller=True)
    tracker.preview("a", Prompt(9, points=(Point(80, 45),)), 0, fresh=True)
    for number in range(2, 9):
        tracker.track({"a": frame(number)})
    predictor = tracker._of("a")._predictor
    assert 0 in predictor._streams["a"].earlier, "its features are kept as well"


def test_a_preparation_that_fails_ends_what_it_started(
    tracker: TwoSizeTracker, smaller: SAM2Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = around(smaller)
    ended: list[str] = []
    monkeypatch.setattr(made, "warm_up", lambda _progress: 1 / 0)
    monkeypatch.setattr(made._predictor.engine, "close", lambda: ended.append("engine"))
    monkeypatch.setattr(tracker, "_build_smaller", lambda: made)
    with pytest.raises(ZeroDivisionError):
        tracker.prepare_smaller_input(lambda _what, _share: None)
    assert ended == ["engine"]
    assert tracker.choose_input("a", smaller=True) is None


def test_exported_memory_is_of_the_full_size(tracker: TwoSizeTracker) -> None:
    before = tracker.export_memory("a")
    ready(tracker).choose_input("a", smaller=True)
    tracker.track({"a": frame(2)})
    memory = tracker.export_memory("a")
    shapes = {name: array.shape[1:] for name, array in before.objects[7].items()}
    assert {name: array.shape[1:] for name, array in memory.objects[7].items()} == shapes
    tracker.open_stream("a")
    tracker.import_memory("a", memory)
    assert [result.obj_id for result in tracker.track({"a": frame(3)})["a"]] == [7, 3, 5]


def test_sizes_of_a_call_fail_apart(tracker: TwoSizeTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(tracker).choose_input("b", smaller=True)
    tracker.track({"b": frame(1)})
    tracker.add_prompt("b", Prompt(1, box=(40, 20, 100, 60)))
    frames = {"b": frame(2), "a": frame(2)}
    with monkeypatch.context() as broken:
        broken.setattr(tracker._smaller, "track", lambda _frames: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.track(frames)
    numbers = {"a": tracker._full._predictor.frame("a"), "b": tracker._smaller._predictor.frame("b")}
    results = {stream: tracker.track({stream: frames[stream]})[stream] for stream in frames}
    assert [len(results[stream]) for stream in ("a", "b")] == [3, 1]
    assert tracker._full._predictor.frame("a") == numbers["a"]  # it was tracked in the call that failed
    assert tracker._smaller._predictor.frame("b") == numbers["b"] + 1
    assert list(tracker.track({"b": frame(3), "a": frame(3)})) == ["b", "a"]


def test_memory_is_scaled_like_a_picture(tracker: TwoSizeTracker) -> None:
    memory = tracker.export_memory("a")
    again = for_input(for_input(memory, 2 * tracker._full.feature_side), tracker._full.feature_side)
    for name, array in memory.objects[7].items():
        found = again.objects[7][name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        if name not in ("features", "mask"):
            np.testing.assert_allclose(found, array, rtol=1e-6)


def test_what_confidence_remembers_fits_both_sizes(tracker: TwoSizeTracker) -> None:
    memory = tracker.export_memory("a")
    scaled = for_input(memory, 2 * tracker._full.feature_side)
    names = [name for name in memory.objects[7] if name.startswith("confidence ")]
    assert len(names) == 4
    for name in names:
        np.testing.assert_array_equal(scaled.objects[7][name], memory.objects[7][name])


def test_both_policies_see_the_same_colors(full: SAM2Base) -> None:
    pictures = []
    for policy in ("sam2", "contact"):
        tracker = around(full, policy)
        tracker.open_stream("a")
        tracker.track({"a": frame(0)})
        tracker.track({"a": frame(1)})
        pictures.append(tracker._predictor.newest_colors("a"))
    assert pictures[0].shape == (FULL // 2, FULL // 2)
    assert torch.equal(*pictures)
    assert len(pictures[0].unique()) > 1


def test_nano_keeps_its_object(one_thread: None) -> None:
    scene = Scene("scene:simple?size=320x180")
    tracker = create_tracker(ModelConfig(name="nano", device="cpu", engine="torch", dtype="float32", threads=1))
    assert tracker.prepare_smaller_input(lambda _what, _share: None) == 192
    tracker.open_stream("cam")
    (ball, *_) = scene.names

    def shown(number: int) -> float:
        picture = frame(number, 320, 180)
        pixels = np.ascontiguousarray(scene.render(number)).reshape(180, 960)
        (result,) = tracker.track({"cam": type(picture)(number, 0, picture.format, (pixels,), picture.stamps)})["cam"]
        truth = scene.truth(number)[ball]
        return float((result.full_mask & truth).sum() / (result.full_mask | truth).sum())

    picture = frame(0, 320, 180)
    pixels = np.ascontiguousarray(scene.render(0)).reshape(180, 960)
    tracker.track({"cam": type(picture)(0, 0, picture.format, (pixels,), picture.stamps)})
    tracker.add_prompt("cam", Prompt(ball, mask=scene.truth(0)[ball]))
    assert shown(1) > 0.7
    tracker.choose_input("cam", smaller=True)
    assert min(shown(2), shown(3)) > 0.7
    tracker.choose_input("cam", smaller=False)
    assert min(shown(4), shown(5)) > 0.7
