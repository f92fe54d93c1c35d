from pathlib import Path

import pytest

from streamseg.cli.prompt_options import check_marks, prompt_of
from streamseg.errors import ConfigError


def test_no_options_give_no_prompt():
    assert prompt_of((), None, None) is None


def test_points_belong_to_one_object():
    assert prompt_of(["320,240", "10.5, 20,0"], None, None) == {
        "object": 1,
        "points": [[320.0, 240.0], [10.5, 20.0, 0.0]],
    }


def test_points_with_a_box():
    assert prompt_of(["1,2"], "0,0,5,5", None) == {"object": 1, "points": [[1.0, 2.0]], "box": [0.0, 0.0, 5.0, 5.0]}


def test_percentages_are_normalized_coordinates():
    assert prompt_of(["50%,40%,1"], "10%,20%,90%,100%", None) == {
        "object": 1,
        "points": [[0.5, 0.4, 1.0]],
        "box": [0.1, 0.2, 0.9, 1.0],
        "coords": "normalized",
    }


def test_a_mask_file_is_a_prompt():
    assert prompt_of((), None, Path("m.png")) == {"object": 1, "mask": "m.png"}


@pytest.mark.parametrize(
    ("points", "box", "words"),
    [
        (["1"], None, "--point '1': write X,Y"),
        (["1,2,3,4"], None, "write X,Y"),
        (["1,2,2"], None, "write X,Y"),
        (["a,2"], None, "'a' is not a number"),
        ([], "1,2,3", "--box '1,2,3': write X0,Y0,X1,Y1"),
        ([], "1,2,3,x", "'x' is not a number"),
        (["50%,20"], None, "mix pixels and percent"),
        (["50%,20%"], "1,2,3,4", "mix pixels and percent"),
    ],
)
def test_invalid_marks_are_refused(points, box, words):
    with pytest.raises(ConfigError) as caught:
        prompt_of(points, box, None)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("points", "box", "words"),
    [
        (["0.5,0.5"], None, "--point: .* looks normalized, but numbers without % are pixels: use --coords normalized"),
        ((), "0.1,0.1,0.9,0.9", "--box: .* looks normalized"),
        (["nan,5"], None, "--point: .* is outside the picture"),
        (["1e999,5"], None, "--point: .* is outside the picture"),
        ((), "9,9,1,1", "--box: .* is empty: write X0,Y0,X1,Y1"),
        (["150%,5%"], None, "--point: .* outside the picture: coordinates are within 0..1, since they are fractions"),
    ],
)
def test_marks_of_a_picture_follow_the_rules_of_a_daemon(points, box, words):
    with pytest.raises(ConfigError, match=words):
        check_marks(prompt_of(points, box, None))
    check_marks(prompt_of(["5,5", "0.5,7.5,0"], "1,1,9,9", None))
