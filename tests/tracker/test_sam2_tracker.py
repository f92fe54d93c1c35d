from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from tracker_scenes import show

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError, PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.create import create_tracker
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2_tracker import Sam2Tracker, choose_device, choose_dtype
from streamseg.tracker.types import Point, Prompt, Tracker

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 30))
BROKEN = (1000, 1001)


def frame(frame_id: int, width: int = 160, height: int = 90) -> Frame:
    pixels = np.random.default_rng(frame_id // 4).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    plane = pixels.repeat(10, axis=0).repeat(10, axis=1).reshape(height, 3 * width)
    return Frame(frame_id, 0, FrameFormat(width, height, "rgb24"), (np.ascontiguousarray(plane),), STAMPS)


@pytest.fixture
def tracker(small: SAM2Base) -> Sam2Tracker:
    show(small, 0)
    tracker = Sam2Tracker(
        CameraPredictor(small, max_objects=3), Preprocessor(small.image_size, torch.device("cpu"), torch.float32)
    )
    tracker.open_stream("a")
    return tracker


def test_prompts_of_every_kind_give_masks_of_the_videos_size(tracker: Sam2Tracker) -> None:
    mask = np.zeros((90, 160), dtype=np.bool_)
    mask[20:60, 40:100] = True
    assert tracker.track({"a": frame(0)}) == {"a": []}
    click = tracker.add_prompt("a", Prompt(4, points=(Point(80, 45), Point(10, 10, 0)))).current
    tracker.add_prompt("a", Prompt(9, box=(40, 20, 100, 60), points=(Point(70, 40),)))
    given = tracker.add_prompt("a", Prompt(2, mask=mask)).current
    assert (click.obj_id, click.size) == (4, (160, 90))
    both = np.logical_and(given.full_mask, mask).sum() / np.logical_or(given.full_mask, mask).sum()
    assert both > 0.9  # a mask comes back as it was given, but for the model's resolution
    assert given.iou_prediction == 1.0
    results = tracker.track({"a": frame(1)})["a"]
    assert [result.obj_id for result in results] == [4, 9, 2]  # in order of age
    assert all(result.full_mask.shape == (90, 160) for result in results)
    assert all(result.object_score_logits > 0 for result in results)
    tracker.remove_object("a", 9)
    assert [result.obj_id for result in tracker.track({"a": frame(2)})["a"]] == [4, 2]


def test_the_video_changes_its_size(tracker: Sam2Tracker) -> None:
    tracker.track({"a": frame(0)})
    tracker.add_prompt("a", Prompt(1, points=(Point(80, 45),)))
    tracker.track({"a": frame(1)})
    (result,) = tracker.track({"a": frame(2, width=200, height=120)})["a"]
    assert result.size == (200, 120)
    assert result.full_mask.shape == (120, 200)
    corrected = tracker.add_prompt("a", Prompt(1, points=(Point(190, 110, 0),))).current  # outside the old frame
    assert corrected.size == (200, 120)


def test_refused_prompts_change_nothing(tracker: Sam2Tracker) -> None:
    click = Prompt(1, points=(Point(80, 45),))
    with pytest.raises(PromptError, match="no frame"):
        tracker.add_prompt("a", click)
    tracker.track({"a": frame(0)})
    wrong = {
        "outside": Prompt(1, points=(Point(161, 45),)),
        "nan": Prompt(1, points=(Point(float("nan"), 45),)),
        r"outside the frame, which is 160x90": Prompt(1, box=(100, 20, 170, 60)),
        r"give bool \(90, 160\)": Prompt(1, mask=np.ones((160, 90), dtype=np.bool_)),
        "empty": Prompt(1, mask=np.zeros((90, 160), dtype=np.bool_)),
        "off the object": Prompt(1, points=(Point(1, 1, 0),)),
    }
    for fault, prompt in wrong.items():
        with pytest.raises(PromptError, match=fault):
            tracker.add_prompt("a", prompt)
    for obj_id in (1, 2, 3):
        tracker.add_prompt("a", Prompt(obj_id, points=(Point(80, 45),)))
    with pytest.raises(PromptError, match="3 objects already"):
        tracker.add_prompt("a", Prompt(4, points=(Point(80, 45),)))
    assert [result.obj_id for result in tracker.track({"a": frame(1)})["a"]] == [1, 2, 3]
    with pytest.raises(PromptError, match="no object 4"):
        tracker.remove_object("a", 4)


def test_several_streams_of_different_sizes(tracker: Sam2Tracker) -> None:
    tracker.open_stream("b")
    tracker.track({"a": frame(0), "b": frame(0, 200, 120)})
    tracker.add_prompt("a", Prompt(1, points=(Point(80, 45),)))
    tracker.add_prompt("b", Prompt(1, points=(Point(80, 45),)))
    results = tracker.track({"a": frame(1), "b": frame(1, 200, 120)})
    assert {stream: result.size for stream, (result,) in results.items()} == {"a": (160, 90), "b": (200, 120)}
    tracker.reset("a")
    tracker.close_stream("b")
    assert tracker.track({"a": frame(2)}) == {"a": []}
    with pytest.raises(PromptError, match="not open"):
        tracker.track({"b": frame(2)})


def test_an_object_whose_numbers_broke_waits_for_a_prompt(small: SAM2Base, caplog: pytest.LogCaptureFixture) -> None:
    class Breaking(Preprocessor):
        def resize(self, frame: Frame) -> torch.Tensor:
            return super().resize(frame) * (frame.frame_id not in BROKEN)

        def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().normalise(pixels) * (1.0 if pixels.any() else float("nan"))

    show(small, 0)
    preprocess = Breaking(small.image_size, torch.device("cpu"), torch.float32)
    tracker = Sam2Tracker(CameraPredictor(small, max_objects=2), preprocess)
    click = Prompt(7, points=(Point(80, 45),))
    for stream in ("broken", "whole"):
        tracker.open_stream(stream)
        tracker.track({stream: frame(0)})
        tracker.add_prompt(stream, click)
    tracker.add_prompt("broken", Prompt(3, points=(Point(80, 45),)))
    for frame_id in (BROKEN[0], 2, 3):
        results = tracker.track({"broken": frame(frame_id), "whole": frame(0)})
        assert [result.obj_id for result in results["broken"]] == [7, 3]
        for result in results["broken"]:
            assert (result.area, result.roi, result.size) == (0, (0, 0, 0, 0), (160, 90))
            assert (result.iou_prediction, result.object_score_logits) == (0.0, -32.0)
        assert results["whole"][0].object_score_logits > 0
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2  # once an object, not once a frame
    assert all(
        "stream broken" in line and f"object {obj_id}" in line for obj_id, line in zip((7, 3), said, strict=True)
    )
    with pytest.raises(PromptError, match="needs one on it"):  # nothing is left to correct
        tracker.add_prompt("broken", Prompt(7, points=(Point(1, 1, 0),)))
    assert tracker.add_prompt("broken", click).current.object_score_logits > 0
    seen, waiting = tracker.track({"broken": frame(3)})["broken"]
    assert (seen.object_score_logits > 0, waiting.object_score_logits) == (True, -32.0)
    tracker.track({"broken": frame(BROKEN[1])})
    assert tracker.add_prompt("broken", click).current.object_score_logits == -32.0  # on the broken frame
    tracker.track({"broken": frame(4)})
    assert tracker.add_prompt("broken", click).current.object_score_logits > 0


def test_warm_up_leaves_nothing_behind(tracker: Sam2Tracker) -> None:
    told: list[tuple[str, float]] = []
    tracker.warm_up(lambda what, share: told.append((what, share)))
    assert told[-1][1] == 1.0
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert tracker.track({"a": frame(0)}) == {"a": []}
    for obj_id in (1, 2, 3):  # all lanes are free again
        tracker.add_prompt("a", Prompt(obj_id, points=(Point(80, 45),)))


def test_created_from_settings() -> None:
    threads = torch.get_num_threads()
    tracker: Tracker = create_tracker(ModelConfig(name="nano", image_size=96, device="cpu", threads=threads))
    tracker.open_stream("a")
    tracker.track({"a": frame(0)})
    assert tracker.add_prompt("a", Prompt(1, points=(Point(80, 45),))).current.size == (160, 90)
    assert tracker.device == "cpu"


def test_devices_and_precisions() -> None:
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_dtype("auto", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ModelError, match="CUDA devices: set it to auto or cpu"):
        choose_device("cuda:99")
