from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.config.schema import ModelConfig
from streamseg.errors import FrameExpiredError, NothingToUndoError, PromptError
from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.create import create_tracker
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2 import point_decoder
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import ObjectResult, Point, Preview, Prompt, Question, Tracker

STAMPS = FrameStamps(0, "file", 0, 0, None, (1, 30))
BROKEN = (1000, 1001)


def frame(frame_id: int, width: int = 160, height: int = 90, epoch: int = 0) -> Frame:
    pixels = np.random.default_rng(frame_id // 4).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    plane = pixels.repeat(10, axis=0).repeat(10, axis=1).reshape(height, 3 * width)
    return Frame(frame_id, epoch, FrameFormat(width, height, "rgb24"), (np.ascontiguousarray(plane),), STAMPS)


@pytest.fixture
def tracker(small: SAM2Base) -> Sam2Tracker:
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
        r"expected bool \(90, 160\)": Prompt(1, mask=np.ones((160, 90), dtype=np.bool_)),
        "empty": Prompt(1, mask=np.zeros((90, 160), dtype=np.bool_)),
        "off the object": Prompt(1, points=(Point(1, 1, 0),)),
    }
    for fault, prompt in wrong.items():
        with pytest.raises(PromptError, match=fault):
            tracker.add_prompt("a", prompt)
    for obj_id in (1, 2, 3):
        tracker.add_prompt("a", Prompt(obj_id, points=(Point(80, 45),)))
    with pytest.raises(PromptError, match="already tracks 3 objects"):
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

        def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().normalize(pixels) * (1.0 if pixels.any() else float("nan"))

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
    tracker.track({"broken": frame(1004)})
    with pytest.raises(NothingToUndoError):
        tracker.undo_prompt("broken", 7)
    assert tracker.preview("broken", click, BROKEN[1]).prompted.object_score_logits == -32.0
    late = tracker.add_prompt("broken", click, BROKEN[1])
    assert (late.prompted.object_score_logits, late.current.object_score_logits) == (-32.0, -32.0)
    assert tracker.add_prompt("broken", click).current.object_score_logits > 0


def same(one: ObjectResult, other: ObjectResult) -> bool:
    return bool(
        one.roi == other.roi
        and np.array_equal(one.mask, other.mask)
        and one.iou_prediction == pytest.approx(other.iou_prediction, abs=1e-4)
        and one.object_score_logits == pytest.approx(other.object_score_logits, abs=1e-3)
    )


def small_tracker(small: SAM2Base, *, catch_up_frames: int = 4, **settings: int) -> Sam2Tracker:
    preprocess = Preprocessor(small.image_size, torch.device("cpu"), torch.float32)
    tracker = Sam2Tracker(CameraPredictor(small, **settings), preprocess, catch_up_frames=catch_up_frames)
    tracker.open_stream("a")
    return tracker


CLICK = Prompt(1, points=(Point(80, 45),))
CORRECTION = Prompt(1, points=(Point(30, 60, 0),))


def test_a_prompt_on_the_frame_that_the_user_saw(small: SAM2Base) -> None:
    """Frames 0, 10, 20, ...: those between were dropped before they came to the tracker."""
    on_time, late = (small_tracker(small, catch_up_frames=20) for _ in range(2))
    for number in range(12):
        for tracker in (on_time, late):
            tracker.track({"a": frame(10 * number)})
        if number == 4:
            given = on_time.add_prompt("a", CLICK)
            assert given.current is given.prompted
    result = late.add_prompt("a", CLICK, frame_id=40)
    assert result.frame_id == given.frame_id == 40
    assert same(result.prompted, given.prompted)
    for number in range(12, 16):
        (wanted,), (found,) = (tracker.track({"a": frame(10 * number)})["a"] for tracker in (on_time, late))
        assert same(wanted, found)
    late.undo_prompt("a", 1)
    assert late.track({"a": frame(160)}) == {"a": []}


def test_catching_up_takes_a_bounded_number_of_frames(small: SAM2Base) -> None:
    encoded: list[int] = []
    tracker = small_tracker(small, catch_up_frames=3)
    for number in range(20):
        tracker.track({"a": frame(number)})
    hook = tracker._predictor.step.image_encoder.register_forward_hook(lambda *_: encoded.append(1))
    try:
        result = tracker.add_prompt("a", CLICK, frame_id=5)
        assert len(encoded) == 1 + 3  # the newest among them, for the first time: there was no object
        (now,) = tracker.track({"a": frame(19)})["a"]
        assert (result.frame_id, result.current.size, now.object_score_logits > 0) == (5, (160, 90), True)
        encoded.clear()
        tracker.preview("a", CORRECTION, frame_id=8)
        assert len(encoded) == 1
        encoded.clear()
        tracker.add_prompt("a", CORRECTION, frame_id=19)
        assert len(encoded) == 0
    finally:
        hook.remove()


def test_frames_that_cannot_be_prompted(small: SAM2Base) -> None:
    tracker = small_tracker(small, history_frames=4)
    for number in range(10):
        tracker.track({"a": frame(number)})
    for ask in (tracker.add_prompt, tracker.preview):
        with pytest.raises(FrameExpiredError, match=r"object 1: frame 5 .*frames 6 to 9"):
            ask("a", CLICK, 5)
        with pytest.raises(PromptError, match=r"frame 10 .* was not tracked yet: the newest is 9"):
            ask("a", CLICK, 10)
        with pytest.raises(PromptError, match="no frame yet"):
            ask("unknown", CLICK, 9)
    assert tracker.track({"a": frame(10)}) == {"a": []}
    tracker.add_prompt("a", CLICK, 8)
    tracker.track({"a": frame(11, epoch=1)})
    with pytest.raises(FrameExpiredError, match="frames 11 to 11"):
        tracker.add_prompt("a", CORRECTION, 10)
    tracker.track({"a": frame(12, 200, 120, epoch=2)})
    with pytest.raises(FrameExpiredError, match="frames 12 to 12"):
        tracker.add_prompt("a", CORRECTION, 11)
    assert tracker.add_prompt("a", CORRECTION, 12).current.size == (200, 120)


def test_undo_of_a_prompt_whose_frame_is_gone(small: SAM2Base) -> None:
    """It is tracked again from the oldest held frame, with the remaining conditioning memory."""
    tracker = small_tracker(small, history_frames=3)
    tracker.track({"a": frame(0)})
    tracker.add_prompt("a", CLICK)
    tracker.add_prompt("a", Prompt(2, box=(40, 20, 100, 60)))
    tracker.track({"a": frame(1)})
    tracker.add_prompt("a", CORRECTION)
    for number in range(2, 8):
        tracker.track({"a": frame(number)})
    undone = tracker.undo_prompt("a", 1)
    assert undone is not None
    assert undone.frame_id == 5
    assert [result.obj_id for result in tracker.track({"a": frame(8)})["a"]] == [1, 2]
    assert tracker.undo_prompt("a", 1) is None
    with pytest.raises(PromptError, match="no object 1"):
        tracker.undo_prompt("a", 1)
    assert [result.obj_id for result in tracker.track({"a": frame(9)})["a"]] == [2]


def test_a_prompt_on_a_frame_that_repeats_another_applies_to_that_one(small: SAM2Base) -> None:
    plain, repeating = small_tracker(small), small_tracker(small)
    for number in (0, 4, 8):
        for tracker in (plain, repeating):
            tracker.track({"a": frame(number)})
        repeating.repeat("a", number + 1)
        repeating.repeat("a", number + 3)
    assert repeating.preview("a", CLICK, 7).frame_id == 4
    wanted, given = plain.add_prompt("a", CLICK, 4), repeating.add_prompt("a", CLICK, 7)
    assert given.frame_id == wanted.frame_id == 4
    assert same(wanted.prompted, given.prompted)
    assert same(wanted.current, given.current)


def test_a_preview_is_what_the_prompt_gives(small: SAM2Base) -> None:
    plain, looked = small_tracker(small), small_tracker(small)
    for number in range(6):
        for tracker in (plain, looked):
            tracker.track({"a": frame(number)})
            if number == 1:
                tracker.add_prompt("a", CLICK)
        if number >= 1:
            looked.preview("a", CORRECTION)
            looked.preview("a", Prompt(3, points=(Point(20, 20),)), number - 1)
    assert same(looked.preview("a", CORRECTION, 3).prompted, looked.add_prompt("a", CORRECTION, 3).prompted)
    plain.add_prompt("a", CORRECTION, 3)
    (wanted,), (given,) = (tracker.track({"a": frame(6)})["a"] for tracker in (plain, looked))
    assert wanted.object_score_logits == given.object_score_logits  # bit by bit
    assert np.array_equal(wanted.full_mask, given.full_mask)


def test_previews_together_are_those_of_each_alone(small: SAM2Base) -> None:
    tracker = small_tracker(small)
    for number in range(4):
        tracker.track({"a": frame(5 * number)})
    tracker.add_prompt("a", CLICK)
    click = Prompt(3, points=(Point(60, 40),))
    questions = [
        Question(Prompt(3, points=(Point(20, 20),))),
        Question(click, 15),
        Question(click, 5),  # an earlier frame, in the same batch
        Question(click, candidates=True),
        Question(Prompt(3, box=(40, 20, 100, 60))),
        Question(CORRECTION),  # of an object that exists
    ]
    refused = [Question(Prompt(3, points=(Point(300, 20),))), Question(click, 99)]
    answers = tracker.previews("a", [*refused, *questions])
    for asked, answer in zip(refused, answers, strict=False):
        with pytest.raises(PromptError) as alone:
            tracker.preview("a", asked.prompt, asked.frame_id)
        assert str(answer) == str(alone.value)
    for asked, answer in zip(questions, answers[2:], strict=True):
        wanted = tracker.preview("a", asked.prompt, asked.frame_id, candidates=asked.candidates)
        assert isinstance(answer, Preview)
        assert answer.frame_id == wanted.frame_id
        masks, offered = (wanted.prompted, *wanted.candidates), (answer.prompted, *answer.candidates)
        for one, other in zip(masks, offered, strict=True):
            assert np.array_equal(one.full_mask, other.full_mask)
            assert one.iou_prediction == pytest.approx(other.iou_prediction, abs=1e-4)
            assert one.object_score_logits == pytest.approx(other.object_score_logits, abs=1e-4)
    assert tracker._predictor.objects("a") == (1,)


def test_clicks_on_one_frame_go_through_the_decoder_together(small: SAM2Base) -> None:
    tracker, batches = small_tracker(small), []
    tracker.track({"a": frame(0)})
    last = small.sam_mask_decoder.transformer.norm_final_attn
    hook = last.register_forward_hook(lambda _module, _args, output: batches.append(len(output)))
    try:
        tracker.previews("a", [Question(Prompt(3, points=(Point(20 * place, 40),))) for place in range(1, 5)])
    finally:
        hook.remove()
    assert batches == [4]


def test_batches_of_clicks_are_as_large_as_the_memory_allows(small: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, batches = small_tracker(small), []
    for number in range(4):
        tracker.track({"a": frame(5 * number)})
    asked = [Question(Prompt(3, points=(Point(20 * place, 40),)), 5 * (place % 2 + 2)) for place in range(1, 6)]
    wanted = tracker.previews("a", asked)
    tokens = (small.image_size // 16) ** 2
    monkeypatch.setattr(point_decoder, "_CPU_BATCH_VALUES", 2 * tokens * small.hidden_dim)
    last = small.sam_mask_decoder.transformer.norm_final_attn
    hook = last.register_forward_hook(lambda _module, _args, output: batches.append(len(output)))
    try:
        given = tracker.previews("a", asked)
    finally:
        hook.remove()
    assert batches == [2, 2, 1]
    for one, other in zip(wanted, given, strict=True):
        assert isinstance(one, Preview)
        assert isinstance(other, Preview)
        assert np.array_equal(one.prompted.full_mask, other.prompted.full_mask)


def test_previews_are_refused_when_there_is_no_room(small: SAM2Base) -> None:
    tracker = small_tracker(small, max_objects=1)
    tracker.track({"a": frame(0)})
    tracker.add_prompt("a", CLICK)
    (answer,) = tracker.previews("a", [Question(Prompt(3, points=(Point(20, 20),)))])
    assert "the limit of model.max_objects" in str(answer)


def test_warm_up_leaves_nothing_behind(tracker: Sam2Tracker) -> None:
    progress: list[tuple[str, float]] = []
    tracker.warm_up(lambda what, share: progress.append((what, share)))
    assert progress[-1][1] == 1.0
    assert [share for _, share in progress] == sorted(share for _, share in progress)
    assert tracker.track({"a": frame(0)}) == {"a": []}
    for obj_id in (1, 2, 3):  # all lanes are free again
        tracker.add_prompt("a", Prompt(obj_id, points=(Point(80, 45),)))


def test_a_tracker_follows_its_settings() -> None:
    threads = torch.get_num_threads()
    tracker: Tracker = create_tracker(
        ModelConfig(name="nano", image_size=96, device="cpu", threads=threads, history_frames=2)
    )
    tracker.open_stream("a")
    for number in range(3):
        tracker.track({"a": frame(number)})
    with pytest.raises(FrameExpiredError, match="frames 1 to 2"):
        tracker.add_prompt("a", CLICK, 0)
    assert tracker.add_prompt("a", Prompt(1, points=(Point(80, 45),))).current.size == (160, 90)
    assert tracker.device == "cpu"


def test_a_graph_that_is_compiled_after_the_warm_up_is_counted() -> None:
    import torch._dynamo.utils as dynamo

    tracker = create_tracker(ModelConfig(name="nano", image_size=96, device="cpu", max_objects=1))
    tracker.warm_up(lambda _what, _share: None)
    assert (tracker.recompiles, tracker.device_memory_bytes) == (0, 0)
    torch.compile(lambda value: value + 1, backend="eager")(torch.ones(3))
    assert tracker.recompiles == 1
    dynamo.counters.clear()


def test_masks_with_negative_strides_are_followed(tracker: Sam2Tracker) -> None:
    mask = np.zeros((90, 160), dtype=np.bool_)
    mask[60:80, 10:40] = True
    for obj_id, flipped in enumerate((mask[::-1], mask[:, ::-1], mask[::-1, ::-1]), start=1):
        tracker.track({"a": frame(obj_id)})
        given = tracker.preview("a", Prompt(obj_id, mask=flipped)).prompted
        same = tracker.preview("a", Prompt(obj_id, mask=flipped.copy())).prompted
        np.testing.assert_array_equal(given.full_mask, same.full_mask)
