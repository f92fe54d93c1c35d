"""Prompts on frames that are not the newest, previews and undo, on the predictor."""

from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.errors import NothingToUndoError, PromptError
from streamseg.tracker.predictor import CameraPredictor, PastImage
from streamseg.tracker.sam2.memory_policy import NEVER
from tests.tracker.tracker_scenes import CLICK, STREAM, Add, Run, clip, note, show

TOLERANCE = 1e-3
OTHER = Add(2, box=(0.2, 0.2, 0.6, 0.7))
CORRECTION = Add(1, points=[(0.7, 0.6, 0)])
FRAMES = 24


class Player:
    """A predictor on a clip, with late prompts. The final masks are recorded."""

    def __init__(self, model: SAM2Base, images: Tensor, **settings: int) -> None:
        self.predictor = CameraPredictor(model, **settings)
        self.images = images
        self.run = Run()
        self.predictor.open_stream(STREAM)
        show(model, 0)

    @property
    def newest(self) -> int:
        return self.predictor.frame(STREAM)

    def past(self, frame: int) -> PastImage:
        return PastImage(frame, self.images[frame])

    def track_to(self, frame: int) -> None:
        while self.newest < frame:
            output = self.predictor.track({STREAM: self.images[self.newest + 1]})[STREAM]
            note(self.run, self.newest, output)

    def prompt(self, add: Add, frame: int, catch_up: range | None = None) -> Tensor:
        """Prompt a frame and catch up, by default on every frame."""
        output = self.predictor.add_prompt(STREAM, add.obj_id, at=self.past(frame), **add.arguments())
        self.retrack(add.obj_id, range(frame + 1, self.newest + 1) if catch_up is None else catch_up)
        return output.mask_logits

    def retrack(self, obj_id: int, frames: range) -> None:
        for frame in frames:
            note(self.run, frame, self.predictor.retrack(STREAM, obj_id, self.past(frame)))

    def undo(self, obj_id: int) -> None:
        first = self.predictor.undo_prompt(STREAM, obj_id)
        if first is not None:
            self.retrack(obj_id, range(first, self.newest + 1))

    def bank(self, obj_id: int) -> dict[str, Tensor]:
        """The lane of an object: they are given in the order of their first prompts."""
        return self.predictor.bank.read_lane(self.predictor.objects(STREAM).index(obj_id))


def played(model: SAM2Base, images: Tensor, prompts: dict[int, list[Add]], **settings: int) -> Player:
    player = Player(model, images, **settings)
    for frame in range(len(images)):
        player.track_to(frame)
        for add in prompts.get(frame, ()):
            player.prompt(add, frame)
    return player


def off(wanted: Run, given: Run, frames: range, obj_id: int = 1) -> float:
    """The largest difference of logits, in standard deviations of a mask."""
    pairs = [(wanted.tracked[frame, obj_id][0], given.tracked[frame, obj_id][0]) for frame in frames]
    return max(((a - b).abs().max() / a.std().clamp(min=0.1)).item() for a, b in pairs)


def same(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> bool:
    return all(torch.equal(wanted[name], given[name]) for name in wanted)


@pytest.fixture
def images(small: SAM2Base) -> Tensor:
    return clip(FRAMES, small.image_size)


@pytest.mark.parametrize("late", [1, 9, 13])
def test_a_late_prompt_leaves_the_memory_of_one_on_time(small: SAM2Base, images: Tensor, late: int) -> None:
    wanted = played(small, images, {2: [CLICK], 10: [CORRECTION]})
    given = Player(small, images)
    given.track_to(2)
    given.prompt(CLICK, 2)
    given.track_to(10 + late)
    given.prompt(CORRECTION, 10)
    given.track_to(FRAMES - 1)
    assert off(wanted.run, given.run, range(11, FRAMES)) < TOLERANCE
    without = played(small, images, {2: [CLICK]})
    assert off(wanted.run, without.run, range(11, FRAMES)) > 10 * TOLERANCE  # it matters


def test_later_frames_are_not_seen(small: SAM2Base, images: Tensor) -> None:
    """The mask on an old frame is the same whatever was tracked and prompted since."""
    masks = []
    for newest in (8, 20):
        player = Player(small, images)
        player.track_to(2)
        player.prompt(CLICK, 2)
        player.track_to(newest)
        if newest > 8:
            player.prompt(Add(1, mask=(0.0, 0.0, 0.3, 0.3)), newest)
        masks.append(player.prompt(CORRECTION, 8))
    # Not bit by bit: one more conditioning slot is read, and masked.
    assert (masks[0] - masks[1]).abs().max() < TOLERANCE * masks[0].std()


def test_clicks_on_one_old_frame_add_up(small: SAM2Base, images: Tensor) -> None:
    more = Add(1, points=[(0.2, 0.3, 1)])
    wanted = played(small, images, {4: [CLICK, CORRECTION, more]})
    given = Player(small, images)
    for newest, add in ((6, CLICK), (9, CORRECTION), (15, more)):
        given.track_to(newest)
        given.prompt(add, 4)
    given.track_to(FRAMES - 1)
    assert off(wanted.run, given.run, range(5, FRAMES)) < TOLERANCE


def test_other_objects_and_streams_are_left_alone(small: SAM2Base, images: Tensor) -> None:
    player = Player(small, images)
    player.track_to(0)
    for add in (CLICK, OTHER):
        player.prompt(add, 0)
    player.predictor.open_stream("other")
    player.predictor.track({"other": images[3]})
    player.predictor.add_prompt("other", 1, **CLICK.arguments())
    player.track_to(14)
    lanes = [lane for lane in range(player.predictor.bank.lanes) if lane != 0]
    before = [player.predictor.bank.read_lane(lane) for lane in lanes]
    own = player.bank(1)
    player.prompt(CORRECTION, 7, catch_up=range(10, 15, 4))
    player.prompt(Add(1, mask=(0.1, 0.1, 0.5, 0.5)), 9, catch_up=range(14, 15))
    player.predictor.undo_prompt(STREAM, 1)
    assert not same(own, player.bank(1))
    for lane, memory in zip(lanes, before, strict=True):
        assert same(memory, player.predictor.bank.read_lane(lane))


def test_a_frame_that_was_prompted_stays_as_it_was_prompted(small: SAM2Base, images: Tensor) -> None:
    """A correction of an earlier frame changes it."""
    player = Player(small, images)
    player.track_to(2)
    player.prompt(CLICK, 2)
    player.track_to(10)
    prompted = player.prompt(CORRECTION, 10)
    player.prompt(Add(1, points=[(0.3, 0.3, 1)]), 7)
    assert torch.equal(player.run.tracked[10, 1][0], prompted[0])
    held = player.bank(1)
    assert held["conditioning_frame"].tolist() == [2, 10, 7, NEVER]
    assert sorted(frame for frame in held["ring_frame"].tolist() if frame != NEVER) == [3, 4, 5, 6, 8, 9]


def test_a_prompt_before_the_objects_first(small: SAM2Base, images: Tensor) -> None:
    """It has no earlier memory: it uses its frame alone, like a prompt on time."""
    early = Add(1, points=[(0.4, 0.4, 1)])
    player = Player(small, images)
    player.track_to(8)
    player.prompt(CLICK, 8)
    assert torch.equal(player.prompt(early, 5), played(small, images[:6], {}).prompt(early, 5))
    player.undo(1)
    player.track_to(FRAMES - 1)
    wanted = played(small, images, {8: [CLICK]})
    assert off(wanted.run, player.run, range(9, FRAMES)) < TOLERANCE


def test_frames_that_were_skipped_are_masked(small: SAM2Base) -> None:
    """At any age of the prompted frame, empty slots after it are not read."""
    images = clip(50, small.image_size)
    runs = []
    for always in (False, True):
        player = Player(small, images)
        if always:
            track = player.predictor.engine.track
            player.predictor.engine.track = lambda *inputs, track=track, **_: track(*inputs, masked=True)
        player.track_to(28)
        player.prompt(CLICK, 2, catch_up=range(15, 29, 13))
        player.track_to(49)
        runs.append(player.run)
    assert off(*runs, range(28, 50)) < TOLERANCE


def test_a_preview_changes_nothing(small: SAM2Base, images: Tensor) -> None:
    plain = played(small, images, {0: [CLICK], 9: [CORRECTION]})
    looked = Player(small, images)
    for frame in range(FRAMES):
        looked.track_to(frame)
        for add in (CORRECTION, Add(5, points=[(0.2, 0.2, 1)]), Add(1, mask=(0.2, 0.2, 0.5, 0.5))):
            for at in {frame, max(frame - 4, 0)}:
                if frame > 0 or add.obj_id == 5:
                    looked.predictor.segment(STREAM, add.obj_id, at=looked.past(at), **add.arguments())
        if frame in (0, 9):
            add = CLICK if frame == 0 else CORRECTION
            wanted = looked.predictor.segment(STREAM, 1, **add.arguments())
            assert torch.equal(wanted.out.step.mask_logits, looked.prompt(add, frame))
    assert looked.predictor.objects(STREAM) == (1,)
    assert looked.predictor.bank.lanes == 1
    assert same(plain.bank(1), looked.bank(1))
    for key, (logits, score) in plain.run.tracked.items():
        assert torch.equal(logits, looked.run.tracked[key][0])
        assert torch.equal(score, looked.run.tracked[key][1])


def test_previews_of_the_newest_frames_encode_nothing(small: SAM2Base, images: Tensor, monkeypatch) -> None:
    player = played(small, images[:12], {0: [CLICK]})
    predictor, encoded, remembered = player.predictor, [], []
    click = Add(5, points=[(0.2, 0.2, 1)]).arguments()
    encode = predictor.engine.encode
    monkeypatch.setattr(predictor.engine, "encode", lambda batch: encoded.append(batch) or encode(batch))
    monkeypatch.setattr(small, "_encode_new_memory", lambda **_: remembered.append(1))
    for frame in (11, 8, 10, 9):
        predictor.segment(
            STREAM, 5, at=player.past(frame), points_norm=torch.tensor([[0.2, 0.2]]), labels=torch.ones(1)
        )
    assert (encoded, remembered) == ([], [])
    predictor.segment(STREAM, 5, at=player.past(2), **click)
    assert len(encoded) == 1
    assert len(predictor._streams[STREAM].earlier) == 4


def test_features_that_are_kept_outlive_newer_frames(small: SAM2Base, images: Tensor, monkeypatch) -> None:
    """A frame that is looked at for long is not encoded again for what is found on it."""
    player = played(small, images[:5], {0: [CLICK]})
    predictor, encoded = player.predictor, []
    predictor.keep_features(STREAM, {4})
    for image in images[5:12]:
        predictor.track({STREAM: image})
    encode = predictor.engine.encode
    monkeypatch.setattr(predictor.engine, "encode", lambda batch: encoded.append(batch) or encode(batch))
    predictor.segment(STREAM, 5, at=player.past(4), **Add(5, points=[(0.2, 0.2, 1)]).arguments())
    assert not encoded
    assert sorted(predictor._streams[STREAM].earlier) == [4, 7, 8, 9, 10]
    predictor.keep_features(STREAM, ())
    predictor.track({STREAM: images[12]})
    assert sorted(predictor._streams[STREAM].earlier) == [8, 9, 10, 11]


@pytest.mark.parametrize("late", [0, 8])
def test_undo_is_as_if_the_prompt_had_not_been_given(small: SAM2Base, images: Tensor, late: int) -> None:
    plain = played(small, images, {0: [CLICK]})
    player = Player(small, images)
    player.track_to(0)
    player.prompt(CLICK, 0)
    player.track_to(10)
    player.prompt(Add(1, mask=(0.0, 0.0, 0.3, 0.3)), 10)
    player.track_to(10 + late)
    player.undo(1)
    player.track_to(FRAMES - 1)
    assert off(plain.run, player.run, range(1, FRAMES)) < TOLERANCE
    player.undo(1)
    assert player.predictor.objects(STREAM) == ()
    player.prompt(OTHER, FRAMES - 1)
    assert player.predictor.bank.lanes == 1  # the lane is free again


def test_undo_of_one_of_several_clicks_on_a_frame(small: SAM2Base, images: Tensor) -> None:
    more = Add(1, points=[(0.2, 0.3, 1)])
    wanted = played(small, images, {4: [CLICK, more]})
    player = Player(small, images)
    player.track_to(4)
    player.prompt(CLICK, 4)
    player.prompt(CORRECTION, 4)
    player.track_to(12)
    player.undo(1)
    player.prompt(more, 4)  # adds up with the first click alone
    player.track_to(FRAMES - 1)
    assert off(wanted.run, player.run, range(5, FRAMES)) < TOLERANCE


def test_undo_brings_an_evicted_conditioning_frame_back(small: SAM2Base, images: Tensor) -> None:
    player = Player(small, images, conditioning_frames=2)
    player.track_to(0)
    player.prompt(CLICK, 0)
    player.track_to(5)
    player.prompt(CORRECTION, 5)
    player.track_to(8)
    before = player.bank(1)
    player.prompt(Add(1, mask=(0.0, 0.0, 0.3, 0.3)), 8)
    assert player.bank(1)["conditioning_frame"].tolist() == [0, 8]
    player.undo(1)
    after = player.bank(1)
    for name in ("conditioning_frame", "ring_frame"):
        assert torch.equal(before[name], after[name]), name
    for name in ("features", "pointers"):  # the two conditioning slots come first
        assert torch.equal(before[name][:2], after[name][:2]), name
    assert torch.allclose(before["pointers"], after["pointers"], atol=1e-4)


def test_undo_is_limited_to_its_depth(small: SAM2Base, images: Tensor) -> None:
    player = played(small, images[:8], {t: [Add(1, points=[(0.1 * t, 0.5, 1)])] for t in range(1, 6)}, undo_depth=2)
    for _ in range(2):
        player.undo(1)
    with pytest.raises(NothingToUndoError, match=r"object 1: .*last 2 prompts"):
        player.undo(1)
    assert player.predictor.objects(STREAM) == (1,)
    with pytest.raises(PromptError, match="no object 9"):
        player.undo(9)
    player.predictor.forget_object(STREAM, 1)
    with pytest.raises(NothingToUndoError, match="memory was cleared"):
        player.undo(1)


def test_prompts_and_undos_do_not_grow_memory(small: SAM2Base) -> None:
    """A prompt and an undo every few frames, some on old frames."""
    player = Player(small, clip(60, small.image_size), history_frames=6, undo_depth=3)
    sizes = set()
    for frame in range(0, 60, 3):
        player.track_to(frame)
        player.prompt(
            Add(1, points=[(0.01 * (frame % 90), 0.4, 1)]), max(frame - 5, 0), catch_up=range(frame, frame + 1)
        )
        if frame % 4 == 1:
            player.predictor.undo_prompt(STREAM, 1)
            player.retrack(1, range(frame, frame + 1))
        (obj,) = player.predictor._streams[STREAM].remembered().values()
        if frame > 30:
            sizes.add(player.predictor.bank.nbytes)
            assert len(obj.outputs) <= 6 + 3
            assert len(obj.prompts) <= 6 + 3
            assert len(obj._undo) <= 3
    assert len(sizes) == 1
