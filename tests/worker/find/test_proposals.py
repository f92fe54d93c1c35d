"""Proposals of a prompter with the tracker of colors: how the worker handles them, without a prompter process."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.scene_run import SceneRun, scene_frame
from streamseg.config.schema import FindConfig, PrompterConfig
from streamseg.ipc.prompters import CheckedProposal, Proposals, ProposedMask, Ready
from streamseg.sources.scene.source import Scene
from streamseg.tracker.simple.color import ColorTracker
from streamseg.worker.track_frames import track_frames

SCENE = Scene("scene:simple?size=320x180")
ROLE = "prompter1"


class Stage(SceneRun):
    """A stream with one prompter, which looks at each frame that it is offered."""

    def __init__(self, history_frames: int = 30, **config: Any) -> None:
        prompter = PrompterConfig(type="test", every_s=0.1, **{"confirm": 1, **config})
        tracker = ColorTracker(history_frames=history_frames)
        super().__init__(SCENE, tracker, FindConfig(enabled=False), {"prompters": {"mine": prompter}})
        self.prompter = self.stream.prompters["mine"]
        self.token = 0
        self.ready()

    def ready(self) -> None:
        self.token += 1
        self.prompter.on_ready(Ready(self.token, ROLE))

    def give(self, n: int) -> bool:
        """Track a frame, and give it to the prompter if that wants it."""
        self.track(n)
        frame = scene_frame(SCENE, n)
        if self.prompter.wants(frame) is None:
            return False
        self.prompter.on_given(frame)
        return True

    def answer(self, n: int, *proposals: CheckedProposal) -> None:
        """Propose something on a frame that was given, and finish the work."""
        self.prompter.on_proposals(Proposals(n, list(proposals)))
        self.ready()
        while self.prompter.has_work:
            self.prompter.work()
        self.events += self.stream.take_events()

    @property
    def objects(self) -> dict[int, tuple[str, str]]:
        return {key: (obj.origin, obj.label) for key, obj in self.stream.objects.table.objects.items()}


def box_of(obj_id: int, n: int = 0, **fields: Any) -> CheckedProposal:
    rows, columns = np.nonzero(SCENE.truth(n)[obj_id])
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    return CheckedProposal(fields.pop("score", 0.9), box=box, **fields)


def mask_of(obj_id: int, n: int = 0, **fields: Any) -> CheckedProposal:
    mask = SCENE.truth(n)[obj_id]
    bits = np.packbits(mask, axis=1).tobytes()
    return CheckedProposal(0.9, mask=ProposedMask((0, 0, mask.shape[1], mask.shape[0]), bits), **fields)


def test_boxes_points_and_masks_start_objects_with_their_labels():
    stage = Stage()
    assert stage.give(0)
    y, x = np.argwhere(SCENE.truth(0)[2]).mean(axis=0)
    point = CheckedProposal(0.9, "two", points=[(float(x), float(y), 1)])
    stage.answer(0, box_of(1, label="one"), point, mask_of(3, label="three"))
    assert set(stage.objects.values()) == {("prompter", "one"), ("prompter", "two"), ("prompter", "three")}
    assert stage.kinds()["object_found"] == 3
    assert stage.prompter.counts().found == 3


def test_what_is_tracked_is_not_started_again_and_equal_proposals_are_one_object():
    stage = Stage()
    stage.give(0)
    stage.answer(0, box_of(1), box_of(1, score=0.5), mask_of(1))
    assert len(stage.objects) == 1
    stage.give(6)
    stage.answer(6, box_of(1, 6), mask_of(1, 6))
    assert len(stage.objects) == 1


def test_an_object_must_be_seen_on_several_pictures_and_keeps_its_key():
    stage = Stage(confirm=2)
    stage.give(0)
    stage.answer(0, mask_of(1, key="a"), mask_of(2, key="b"))
    assert (stage.objects, stage.prompter.counts().tentative) == ({}, 2)
    stage.give(6)
    stage.answer(6, mask_of(2, 6, key="a", label="moved"))  # far from where it was: the key says that it is the same
    assert list(stage.objects.values()) == [("prompter", "moved")]


def test_a_late_answer_starts_on_its_own_frame_however_late_it_is():
    stage = Stage(history_frames=10)
    stage.give(0)
    for n in range(1, 8):
        assert not stage.give(n), "it has not answered yet"
    stage.answer(0, box_of(1))
    assert stage.objects
    truth = SCENE.truth(7)[1]
    (mask,) = stage.masks().values()
    assert (mask & truth).sum() > 0.9 * (mask | truth).sum()
    assert stage.give(20)
    for n in range(21, 40):
        stage.track(n)
    stage.answer(20, box_of(2, 20))
    assert len(stage.objects) == 2
    assert stage.prompter.counts().expired == 0
    truth = SCENE.truth(39)[2]
    mask = stage.masks()[max(stage.objects)]
    assert (mask & truth).sum() > 0.9 * (mask | truth).sum()


def test_an_answer_to_a_frame_before_a_discontinuity_is_discarded():
    stage = Stage()
    stage.give(0)
    list(track_frames(stage.tracker, {"cam": stage.stream}, {"cam": scene_frame(SCENE, 1, epoch=1)}))
    stage.answer(0, box_of(1))
    assert not stage.objects


def test_a_restarted_prompter_is_given_a_frame_and_what_the_old_one_had_is_forgotten():
    stage = Stage()
    assert stage.give(0)
    assert not stage.give(6)
    stage.ready()
    stage.answer(0, box_of(1))
    assert not stage.objects
    assert stage.give(12)


def test_what_a_user_removed_stays_away_and_the_limit_holds():
    stage = Stage(max_objects=1)
    stage.give(0)
    stage.answer(0, box_of(1), box_of(2, score=0.5))
    ((obj_id, _),) = stage.objects.items()
    stage.stream.found.dismiss(obj_id)
    stage.stream.objects.remove(obj_id)
    stage.give(6)
    stage.answer(6, mask_of(1, 6))
    assert not stage.objects


def test_an_object_that_is_gone_is_retired():
    stage = Stage()
    stage.give(0)
    stage.answer(0, box_of(1))
    (obj_id,) = stage.objects
    stage.stream.objects.lose(obj_id)
    stage.track(1)
    stage.events += stage.stream.take_events()
    assert not stage.objects
    assert stage.kinds()["object_retired"] == 1
