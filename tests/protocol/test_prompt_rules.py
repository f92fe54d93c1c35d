"""The rules for prompts, shared by all parts that check them."""

from __future__ import annotations

import math

import pytest

from streamseg.protocol.prompt_rules import id_problem, range_problems, request_problems

INSIDE = {"points": [(0.5, 0.25, 1)], "box": None}


def messages(points=(), box=None, *, coords="pixels", has_mask=False):
    return [problem.message for problem in request_problems(points, box, has_mask=has_mask, coords=coords)]


@pytest.mark.parametrize("label", [0.7, -0.4, 2, -1, math.nan, math.inf])
def test_a_label_that_is_neither_0_nor_1_is_refused_not_rounded(label):
    (message,) = messages([(10, 20, label)])
    assert f"label {label:g} is invalid: 1 is on the object, 0 is off" in message


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([(0.5, 0.25)], None),
        ([(1, 0), (0.999, 1, 0)], None),
        ((), (0, 0, 0.5, 1)),
        ([(0.1, 0.2)], (0, 0, 1, 0.9)),
    ],
)
def test_shares_given_as_pixels_are_refused_with_the_fix(points, box):
    (message,) = messages(points, box)
    assert "looks normalized, but coords is pixels: set coords to normalized" in message
    assert not messages(points, box, coords="normalized")


@pytest.mark.parametrize(
    ("points", "box"), [([(0, 0)], None), ([(1, 1)], None), ([(0.5, 0.5), (3, 4)], None), ((), (0, 0, 0.5, 2))]
)
def test_pixels_in_the_top_left_corner_stay_possible(points, box):
    assert not messages(points, box)


@pytest.mark.parametrize(("points", "box"), [([(320, 180)], None), ([(1.5, 0.5)], None), ((), (0, 0, 640, 360))])
def test_pixels_given_as_shares_are_refused_with_the_fix(points, box):
    (message,) = messages(points, box, coords="normalized")
    assert "coordinates are within 0..1, since coords is normalized (for pixels set coords to pixels)" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -1])
@pytest.mark.parametrize("coords", ["pixels", "normalized"])
def test_coordinates_that_are_negative_or_no_numbers_are_outside(value, coords):
    assert [problem.field for problem in range_problems([(1, 1), (value, 0)], None, coords=coords)] == [("points", 1)]


@pytest.mark.parametrize("obj_id", [None, "cup", "1", 1.5, 1.0, -1, 0, 2**31, True, [1], math.nan])
def test_what_is_not_an_object_id_is_refused(obj_id):
    assert f"object id {obj_id!r} is invalid: give a whole number from 1 to 2147483647" == id_problem(obj_id)


def test_object_ids_of_other_integer_types_are_fine():
    numpy = pytest.importorskip("numpy")
    assert [id_problem(value) for value in (1, 2**31 - 1, numpy.int64(7), numpy.uint8(1))] == [None] * 4
