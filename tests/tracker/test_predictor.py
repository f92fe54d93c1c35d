from __future__ import annotations

import copy

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.errors import PromptError
from streamseg.tracker.predictor import CameraPredictor, TrackOutput
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank, conditioning_slot
from streamseg.tracker.sam2.memory_policy import NEVER
from tests.tracker.tracker_scenes import CLICK, Add, Change, Events, Remove, Run, clip, difference, note, play, show

TOLERANCE = 1e-3
BOX = Add(2, box=(0.2, 0.2, 0.6, 0.7))


def prompt(predictor: CameraPredictor, stream: str, add: Add) -> TrackOutput:
    return predictor.add_prompt(stream, add.obj_id, **add.arguments())


def close(wanted: Tensor, given: Tensor) -> bool:
    return bool((wanted - given).abs().max() < TOLERANCE * wanted.std().clamp(min=0.1))


def test_memory_does_not_grow(small: SAM2Base) -> None:
    images = clip(60, small.image_size)
    predictor = CameraPredictor(small)
    predictor.open_stream("a")
    sizes = set()
    for frame in range(130):
        predictor.track({"a": images[frame % 60]})
        if frame in range(0, 81, 20):
            prompt(predictor, "a", CLICK)  # more conditioning frames than slots
        sizes.add(predictor.bank.nbytes)
    assert len(sizes) == 1
    assert (predictor.bank.ring_frame >= 130 - 36).all()
    assert (predictor.bank.pointer_frame >= 130 - 45).all()
    assert predictor.bank.conditioning_frame.tolist() == [[0, 80, 40, 60]]


def test_streams_in_one_call_equal_each_alone(small: SAM2Base, partly_filled: Change) -> None:
    """Streams that joined at different times, with lanes of different ages, some with a correction."""
    scenes = {
        "a": (clip(28, small.image_size, seed=0), 0, {0: [CLICK, BOX]}),
        "b": (
            clip(20, small.image_size, seed=1),
            8,
            {0: [Add(1, mask=(0.3, 0.3, 0.8, 0.8))], 9: [Add(1, points=[(0.2, 0.2, 0)])]},
        ),
        "c": (clip(14, small.image_size, seed=2), 14, {3: [Add(9, points=[(0.4, 0.6, 1)])]}),
    }
    together = partly_filled(CameraPredictor(small))
    runs = {name: Run() for name in scenes}
    for name in scenes:
        together.open_stream(name)
    for now in range(28):
        live = {name: now - start for name, (_, start, _) in scenes.items() if now >= start}
        outputs = together.track({name: scenes[name][0][frame] for name, frame in live.items()})
        for name, frame in live.items():
            note(runs[name], frame, outputs[name])
            for add in scenes[name][2].get(frame, ()):
                prompt(together, name, add)
    assert not close(runs["a"].tracked[15, 1][0], runs["b"].tracked[15, 1][0])
    for name, (images, _, events) in scenes.items():
        alone = CameraPredictor(small)
        alone.open_stream(name)
        for frame, image in enumerate(images):
            output = alone.track({name: image})[name]
            for obj_id, logits in zip(output.obj_ids, output.mask_logits, strict=True):
                assert close(logits, runs[name].tracked[frame, obj_id][0]), (name, frame, obj_id)
            for add in events.get(frame, ()):
                prompt(alone, name, add)


def test_removal_frees_the_lane_and_leaves_the_others(small: SAM2Base) -> None:
    images = clip(30, small.image_size)
    events: Events = {0: [CLICK, BOX], 15: [Remove(1)], 20: [Add(3, mask=(0.1, 0.1, 0.5, 0.5))]}
    predictor = CameraPredictor(small)
    with_removal = play(predictor, images, events)
    alone = play(CameraPredictor(small), images, {0: [BOX]})
    assert predictor.bank.lanes == 2  # object 3 took the place of object 1
    assert not any(frame > 15 and obj_id == 1 for frame, obj_id in with_removal.tracked)
    assert all(close(alone.tracked[key][0], with_removal.tracked[key][0]) for key in alone.tracked)
    # And the newcomer sees nothing of what its lane held.
    fresh = play(CameraPredictor(small), images[20:], {0: [Add(3, mask=(0.1, 0.1, 0.5, 0.5))]}, stream="fresh")
    assert with_removal.tracked.keys() >= {(20 + frame, 3) for frame, _ in fresh.tracked}


def test_a_reused_lane_behaves_like_a_new_one(small: SAM2Base) -> None:
    images = clip(20, small.image_size)
    predictor = CameraPredictor(small)
    first = play(predictor, images, {0: [CLICK]})
    again = play(predictor, images, {0: [CLICK]})  # opens the stream again
    assert all(torch.equal(first.tracked[key][0], again.tracked[key][0]) for key in first.tracked)
    assert predictor.bank.lanes == 1


def test_reset_forgets_objects_and_keeps_the_frame(small: SAM2Base) -> None:
    images = clip(4, small.image_size)
    predictor = CameraPredictor(small)
    play(predictor, images, {0: [CLICK, BOX]}, stream="a")
    predictor.reset("a")
    assert predictor.objects("a") == ()
    assert prompt(predictor, "a", CLICK).obj_ids == (1,)
    assert predictor.track({"a": images[0]})["a"].obj_ids == (1,)


def test_a_broken_frame_does_not_outlive_its_lane(small: SAM2Base) -> None:
    """Masked values are still multiplied by zero, and NaN times zero is NaN."""
    images = clip(4, small.image_size)
    predictor = CameraPredictor(small)
    play(predictor, [*images[:3], images[3] * float("nan")], {0: [CLICK]}, stream="a")
    assert predictor.bank.features.isnan().any()
    predictor.reset("a")
    again = play(predictor, images, {0: [CLICK]}, stream="a")
    fresh = play(CameraPredictor(small), images, {0: [CLICK]})
    assert all(torch.equal(fresh.tracked[key][0], again.tracked[key][0]) for key in fresh.tracked)
    assert predictor.bank.lanes == 1  # the lane that was poisoned


def test_a_forgotten_object_keeps_its_place(small: SAM2Base) -> None:
    images = clip(4, small.image_size)
    predictor = CameraPredictor(small, max_objects=2)
    play(predictor, images, {0: [CLICK, BOX]}, stream="a")
    predictor.forget_object("a", 1)
    assert predictor.track({"a": images[0]})["a"].obj_ids == (2,)
    assert predictor.objects("a") == (1, 2)
    assert (predictor.remembers("a", 1), predictor.remembers("a", 2)) == (False, True)
    with pytest.raises(PromptError, match="max_objects"):
        prompt(predictor, "a", Add(3, points=[(0.5, 0.5, 1)]))
    as_new = prompt(predictor, "a", CLICK)
    newcomer = CameraPredictor(small)
    newcomer.open_stream("a")
    newcomer.track({"a": images[0]})
    assert torch.equal(as_new.mask_logits, prompt(newcomer, "a", CLICK).mask_logits)
    assert predictor.track({"a": images[1]})["a"].obj_ids == (1, 2)
    for obj_id in (1, 2):
        predictor.forget_object("a", obj_id)
    assert predictor.track({"a": images[2]})["a"].obj_ids == ()
    predictor.remove_object("a", 1)
    predictor.reset("a")
    assert predictor.bank.lanes == 2
    play(predictor, images, {0: [CLICK, BOX]}, stream="a")
    assert predictor.bank.lanes == 2  # both were freed once


def test_the_encoder_rests_while_there_are_no_objects(small: SAM2Base) -> None:
    calls = []
    images = clip(4, small.image_size)
    predictor = CameraPredictor(small)
    hook = predictor.step.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        predictor.open_stream("a")
        for image in images:
            assert predictor.track({"a": image})["a"].obj_ids == ()
        assert calls == []
        prompt(predictor, "a", CLICK)
        prompt(predictor, "a", BOX)
        assert len(calls) == 1
    finally:
        hook.remove()


def test_frames_before_the_first_prompt_do_not_matter(small: SAM2Base) -> None:
    images = clip(30, small.image_size)
    late, early = CameraPredictor(small), CameraPredictor(small)
    wanted = play(late, images[:12], {8: [CLICK]})
    show(small, 0)
    early.open_stream("early")
    early.track({"early": images[8]})
    prompt(early, "early", CLICK)
    for frame in (9, 10, 11):
        logits = early.track({"early": images[frame]})["early"].mask_logits[0]
        assert close(wanted.tracked[frame, 1][0], logits)


def test_a_lane_is_a_value_that_can_be_moved(small: SAM2Base) -> None:
    images = clip(30, small.image_size)
    stays, moves = CameraPredictor(small), CameraPredictor(small)
    for predictor in (stays, moves):
        play(predictor, images[:20], {0: [CLICK], 9: [Add(1, points=[(0.7, 0.6, 1)])]}, stream="a")
    memory = moves.bank.read_lane(0)
    moves.bank.clear_lane(0)
    moves.bank.write_lane(0, memory)
    for image in images[20:]:
        wanted, given = (predictor.track({"a": image})["a"].mask_logits for predictor in (stays, moves))
        assert torch.equal(wanted, given)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_low_precision_follows_full_precision(small: SAM2Base, dtype: torch.dtype) -> None:
    images, events = clip(12, small.image_size), {0: [CLICK, BOX]}
    full, low = (
        play(CameraPredictor(small), images, events),
        play(CameraPredictor(copy.deepcopy(small), autocast=dtype), images, events),
    )
    assert all(logits.dtype == torch.float32 for logits, _ in low.tracked.values())
    assert difference(full, low).agreement > 0.9


def test_invalid_calls_are_refused(small: SAM2Base) -> None:
    image = clip(1, small.image_size)[0]
    predictor = CameraPredictor(small, max_objects=1)
    with pytest.raises(PromptError, match="not open"):
        prompt(predictor, "a", CLICK)
    predictor.open_stream("a")
    with pytest.raises(PromptError, match="no frame"):
        prompt(predictor, "a", CLICK)
    predictor.track({"a": image})
    prompt(predictor, "a", CLICK)
    with pytest.raises(PromptError, match="max_objects"):
        prompt(predictor, "a", BOX)
    with pytest.raises(PromptError, match="no object 2: it has 1"):
        predictor.remove_object("a", 2)
    with pytest.raises(ValueError, match="empty"):
        predictor.add_prompt("a", 1)
    predictor.close_stream("a")
    predictor.close_stream("a")
    with pytest.raises(ValueError, match="conditioning_frames"):
        CameraPredictor(small, conditioning_frames=1)


def test_the_first_and_the_newest_conditioning_frames_are_kept() -> None:
    held: list[int] = []
    for frame in (3, 5, 8, 9, 12, 12, 20):
        slot = conditioning_slot(held, frame, slots=3)
        held[slot : slot + 1] = [frame]
    assert sorted(held) == [3, 12, 20]
    assert held[0] == 3


def test_a_corrected_frame_is_remembered_once() -> None:
    bank = MemoryBank(BankShape(tokens=4, memory_dim=2, pointer_dim=4), lanes=2, device=torch.device("cpu"))
    lanes = torch.tensor([1])
    for frame in range(10):
        bank.write_tracked(lanes, torch.tensor([frame]), torch.full((1, 4, 2), frame), torch.full((1, 4), frame))
    before = bank.recall(lanes, torch.tensor([9]), conditioning=1)
    assert before.features[0, 1:, 0, 0].tolist() == [8, 7, 6, 5, 4, 3]  # all six that frame 9 was tracked with
    bank.write_conditioning(1, 0, 9, torch.full((4, 2), 90.0), torch.full((4,), 90.0))
    after = bank.recall(lanes, torch.tensor([10]), conditioning=1)
    assert after.features_valid[0].tolist() == [True, False, True, True, True, True, True]
    assert after.features[0, 0, 0, 0] == 90
    assert after.pointer_age[0].tolist() == [1, *range(1, 16)]
    assert after.pointers_valid[0].tolist() == [True, False, *[True] * 9, *[False] * 5]
    assert (bank.ring_frame[0] == NEVER).all()  # the other lane
