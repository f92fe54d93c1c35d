"""What a stream tracks is saved, so that the next worker or a changed configuration can continue with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamseg.config.schema import PromptConfig
from streamseg.ipc.saved_prompts import (
    MAX_PROMPTS,
    SavedObject,
    SavedPrompt,
    configured,
    free_id,
    next_id_after,
    normalize_prompt,
)
from streamseg.protocol.arguments import PromptArgs
from streamseg.protocol.prompt_rules import MAX_OBJECT_ID

BOX = PromptConfig(object=3, label="cup", box=(0, 0, 9, 9))


def test_equal_prompts_are_equal_wherever_they_come_from():
    assert normalize_prompt(PromptConfig(object=1, points=((1, 2), (3, 4, 0)))) == normalize_prompt(
        PromptArgs(points=((1, 2, 1), (3, 4, 0)), coords="pixels")
    )
    assert normalize_prompt(BOX) == SavedPrompt(box=(0, 0, 9, 9), coords="pixels")
    mask = PromptConfig(object=1, mask="mask.png")
    assert normalize_prompt(mask).mask == Path("mask.png")  # read when it is applied


def test_the_first_prompt_and_the_newest_corrections_are_kept():
    obj = SavedObject(1, "", (normalize_prompt(BOX),))
    for number in range(40):
        obj = obj.corrected(SavedPrompt(points=((number, 0, 1),)))
    assert len(obj.prompts) == MAX_PROMPTS
    assert obj.prompts[0] == normalize_prompt(BOX)
    assert [prompt.points[0][0] for prompt in obj.prompts[1:]] == list(range(40 - MAX_PROMPTS + 1, 40))


def test_a_changed_configuration_leaves_what_was_clicked():
    kept = configured((BOX, PromptConfig(object=5, box=(1, 1, 2, 2))))
    assert kept.next_id == 6
    moved = PromptConfig(object=3, box=(5, 5, 9, 9))
    changed = kept.changed((5,), (moved, PromptConfig(object=9, box=(0, 0, 1, 1))))
    assert [(obj.obj_id, obj.prompts) for obj in changed.objects] == [
        (3, (normalize_prompt(moved),)),
        (9, (SavedPrompt(box=(0, 0, 1, 1), coords="pixels"),)),
    ]
    assert changed.next_id == 10


@pytest.mark.parametrize("far", [MAX_OBJECT_ID, MAX_OBJECT_ID - 1, 10**9, 5_000_000])
def test_a_far_id_does_not_use_up_the_others(far):
    next_id = next_id_after(next_id_after(1, (1, 2)), (far,))
    assert [free_id(next_id, {1, 2, far}), next_id] == [3, 3]
    assert free_id(far, {far}) == (far + 1 if far < MAX_OBJECT_ID else 1)


def test_ids_are_not_assigned_twice():
    next_id = 1
    for _ in range(100):
        obj_id = free_id(next_id, ())
        assert obj_id >= next_id
        next_id = next_id_after(next_id, (obj_id,))
    assert next_id == 101
    assert next_id_after(next_id, (5, 300)) == 301
    assert free_id(MAX_OBJECT_ID + 1, {1, 2}) == 3  # all were assigned: those that are free again
