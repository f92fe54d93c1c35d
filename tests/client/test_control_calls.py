"""Masks from a program are accepted if their meaning is certain, else rejected with the fix."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import numpy as np
import pytest
import torch

from streamseg.client import Controller, control_calls
from streamseg.errors import ControlError
from streamseg.protocol.mask_codec import decode_mask

TRUTH = np.zeros((6, 9), bool)
TRUTH[1:4, 2:8] = True
TRUTH[2, 3] = False


def sent(mask):
    """The mask that the daemon would get."""
    call = control_calls.add_prompt(
        "cam",
        object_id=None,
        label="",
        points=(),
        box=None,
        mask=mask,
        coords="normalized",
        frame=None,
        on_expired="error",
        preview=False,
    )
    height, width = call.args.mask.size
    return decode_mask(call.args.mask.counts.encode(), (width, height), "coco_rle")


@pytest.mark.parametrize(
    "mask",
    [
        TRUTH,
        TRUTH.astype(np.uint8),
        TRUTH.astype(np.uint8) * 255,
        TRUTH.astype(np.int64),
        TRUTH.astype(np.uint16) * 255,
        TRUTH[::-1][::-1],
        np.asfortranarray(TRUTH),
        TRUTH.repeat(2, axis=1)[:, ::2],
        TRUTH.tolist(),
    ],
    ids=["bool", "0 and 1", "0 and 255", "int64", "uint16", "reversed twice", "columns", "every second", "lists"],
)
def test_clear_masks_arrive_as_they_are(mask):
    np.testing.assert_array_equal(sent(mask), TRUTH)


def test_negative_strides_are_followed():
    np.testing.assert_array_equal(sent(TRUTH[::-1, ::-1]), np.rot90(TRUTH, 2))


@pytest.mark.parametrize(
    ("mask", "fix"),
    [
        (np.where(TRUTH, 5.0, -5.0), "the values are float64: give bool, for example logits > 0"),
        (np.where(TRUTH, 1.0, 0.0).astype(np.float32), "the values are float32"),
        (TRUTH.astype(np.float16), "the values are float16"),
        (TRUTH.astype(complex), "the values are complex128"),
        (TRUTH.astype(object), "the values are object"),
        (
            np.where(TRUTH, 7, 0),
            "int64 values from 0 to 7: give bool, or integers that are all 0 and 1 or all 0 and 255",
        ),
        (np.where(TRUTH, 1, -1), "int64 values from -1 to 1"),
        (np.where(TRUTH, 255, 1).astype(np.uint8), "uint8 values from 1 to 255"),
        (np.dstack([TRUTH] * 3), r"the shape is \(6, 9, 3\): give bool \[height, width\]"),
        (np.zeros((0, 9), bool), "the shape is"),
        (np.bool_(True), "the shape is"),
        ([[True, False], [True]], "it cannot be read as an array"),
        (torch.zeros(6, 9, requires_grad=True), "it cannot be read as an array .*detach"),
        (torch.zeros(6, 9, dtype=torch.bfloat16), "it cannot be read as an array"),
        ({"size": [6, 9]}, "counts is a NoneType: give a compressed string"),
        ({"size": [6, 9], "counts": [1, 2, 3]}, "counts is a list"),
        ({"counts": "1"}, "size is None: give"),
        ({"size": [6], "counts": "1"}, r"size is \[6\]"),
        ({"size": ["six", 9], "counts": "1"}, "size is"),
    ],
)
def test_unclear_masks_are_refused_with_the_fix(mask, fix):
    for ask in (sent, lambda mask: control_calls.set_prompts("cam", [{"object_id": 1, "mask": mask}])):
        with pytest.raises(ControlError, match=f"^mask: {fix}") as refused:
            ask(mask)
        assert refused.value.code == "BAD_REQUEST"


@pytest.mark.parametrize(
    "point",
    [
        (np.float64(0.5), np.float32(0.25)),
        np.array([0.5, 0.25]),
        np.array([0.5, 0.25, 1.0], np.float32),
        [np.float16(0.5), 0.25, np.int64(1)],
        (Fraction(1, 2), Fraction(1, 4)),
        (np.array(0.5), np.array(0.25)),
        (0.5, 0.25, np.bool_(True).astype(int)),
    ],
    ids=["scalars", "array", "array of three", "mixed", "fractions", "arrays without dimensions", "label"],
)
def test_numbers_of_any_library_are_numbers(point):
    call = control_calls.add_prompt(
        "cam",
        object_id=np.int64(7),
        label="",
        points=np.array([point, point]) if isinstance(point, np.ndarray) else [point, point],
        box=np.array([0.1, 0.2, 0.3, 0.4]),
        mask=None,
        coords="normalized",
        frame=np.uint32(12),
        on_expired="error",
        preview=False,
    )
    assert call.args.object_id == 7
    assert call.args.frame == 12
    assert call.args.box == (0.1, 0.2, 0.3, 0.4)
    assert [tuple(one[:2]) for one in call.args.points] == [(0.5, 0.25)] * 2
    msgspec.json.encode(call.args)  # only Python's own numbers


def test_numbers_in_sets_of_prompts():
    prompts = [{"object_id": np.int32(3), "points": np.array([[0.5, 0.5, 1.0]]), "mask": None}]
    assert control_calls.set_prompts("cam", prompts, frame=np.int64(5)).args.prompts[0].object_id == 3


@pytest.mark.parametrize("frame", [None, 5])
@pytest.mark.parametrize("wrong", ["bogus", None, 1])
def test_on_expired_is_checked_with_and_without_a_frame(frame, wrong):
    prompts = [{"object_id": 3, "points": [[0.5, 0.5]]}]
    with pytest.raises(ControlError, match=r"set_prompts: on_expired: .* is invalid: expected error or newest"):
        control_calls.set_prompts("cam", prompts, frame, wrong)


def test_on_expired_is_not_sent_without_a_frame():
    """Daemons without the feature ``prompts_on_frame`` do not know it."""
    call = control_calls.set_prompts("cam", [{"object_id": 3, "points": [[0.5, 0.5]]}], None, "newest")
    assert call.feature is None
    assert set(msgspec.json.decode(msgspec.json.encode(call.args))) == {"prompts"}


@pytest.mark.parametrize("point", [("0.5", 0.2), (None, 1.0), (0.5 + 0j, 0.5), (0.5,), [0.1, 0.2, 0.5, 1]])
def test_what_is_not_a_point_is_refused(point):
    with pytest.raises(ControlError):
        control_calls.set_prompts("cam", [{"object_id": 1, "points": [point]}])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"object_id": 2.0}, "add_prompt: object_id: 2.0 is invalid: expected a whole number from 1 to 2147483647"),
        ({"object_id": "cup"}, 'object_id: "cup" is invalid: expected a whole number'),
        ({"candidates": 2}, "candidates: 2 is invalid: expected 1 or 3"),
        ({"box": (1, 2, 3)}, "box: [1, 2, 3] is invalid: expected a list of 4 numbers"),
        ({"points": [(0.5,)]}, "points[0]: [0.5] is invalid: expected a list of 2 to 3 numbers"),
        ({"label": None}, "label: null is invalid: expected text of at most 100 characters"),
        ({"frame": 1.5}, "frame: 1.5 is invalid: expected a whole number of at least 0"),
        ({"coords": "percent"}, 'coords: "percent" is invalid: expected normalized or pixels'),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_fix(args, words):
    with Controller("tcp://127.0.0.1:9") as control, pytest.raises(ControlError) as refused:
        control.add_prompt("cam", **args)
    assert words in refused.value.message
