"""What a stream follows is written down so that the next worker, or a changed configuration, can go on with it."""

from __future__ import annotations

from streamseg.config.schema import PromptConfig
from streamseg.messages.control import Marks
from streamseg.worker.kept_prompts import MOST_PROMPTS, KeptObject, configured, given

BOX = PromptConfig(object=3, label="cup", box=(0, 0, 9, 9))


def test_equal_prompts_are_equal_wherever_they_come_from():
    assert given(PromptConfig(object=1, points=((1, 2), (3, 4, 0)))) == given(
        Marks(points=((1, 2, 1), (3, 4, 0)), coords="pixels")
    )
    assert given(BOX) == Marks(box=(0, 0, 9, 9), coords="pixels")
    mask = PromptConfig(object=1, mask="mask.png")
    assert given(mask) is mask  # read when it is applied


def test_the_first_prompt_and_the_newest_corrections_are_kept():
    obj = KeptObject(1, "", (given(BOX),))
    for number in range(40):
        obj = obj.corrected(Marks(points=((number, 0, 1),)))
    assert len(obj.prompts) == MOST_PROMPTS
    assert obj.prompts[0] == given(BOX)
    assert [prompt.points[0][0] for prompt in obj.prompts[1:]] == list(range(40 - MOST_PROMPTS + 1, 40))


def test_a_changed_configuration_leaves_what_was_clicked():
    kept = configured((BOX, PromptConfig(object=5, box=(1, 1, 2, 2))))
    assert kept.next_id == 6
    moved = PromptConfig(object=3, box=(5, 5, 9, 9))
    changed = kept.changed((5,), (moved, PromptConfig(object=9, box=(0, 0, 1, 1))))
    assert [(obj.obj_id, obj.prompts) for obj in changed.objects] == [
        (3, (given(moved),)),
        (9, (Marks(box=(0, 0, 1, 1), coords="pixels"),)),
    ]
    assert changed.next_id == 10
