"""Configured prompts become pixels of the frame at hand, or a message that says what to fix."""

import cv2
import numpy as np
import pytest

from streamseg.config.schema import PromptConfig
from streamseg.errors import PromptError
from streamseg.ipc.saved_prompts import normalize_prompt
from streamseg.tracker.types import Point, Prompt, check_prompt
from streamseg.worker.prompts import build_prompt as build_given_prompt

SIZE = (640, 360)


def build_prompt(config: PromptConfig, size: tuple[int, int]) -> Prompt:
    return build_given_prompt(config.object, normalize_prompt(config), size)


def test_points_default_to_positive_pixels():
    prompt = build_prompt(PromptConfig(object=3, points=((10, 20), (30, 40, 0))), SIZE)
    assert prompt.obj_id == 3
    assert prompt.points == (Point(10, 20, 1), Point(30, 40, 0))


def test_normalized_coordinates_scale_with_the_frame():
    prompt = build_prompt(
        PromptConfig(object=1, points=((0.5, 0.5),), box=(0.25, 0.25, 0.75, 1.0), coords="normalized"), SIZE
    )
    assert prompt.points == (Point(320, 180, 1),)
    assert prompt.box == (160, 90, 480, 360)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (PromptConfig(object=1, points=((700, 20),)), r"object 1: \(700, 20\) is outside the frame.*640x360"),
        (PromptConfig(object=1, box=(0, 0, 10, 400)), r"\(10, 400\) is outside"),
        (PromptConfig(object=1, box=(10, 0, 5, 40)), r"box .* is empty"),
        (PromptConfig(object=1), "the prompt is empty"),
    ],
)
def test_impossible_prompts_are_refused(prompt: PromptConfig, message: str):
    with pytest.raises(PromptError, match=message):
        check_prompt(build_prompt(prompt, SIZE), SIZE, is_new=True)


def test_mask_is_everything_that_is_not_black(tmp_path):
    picture = np.zeros((360, 640, 3), np.uint8)
    picture[100:120, 200:250] = (0, 0, 40)
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    mask = build_prompt(PromptConfig(object=1, mask=str(tmp_path / "mask.png")), SIZE).mask
    assert mask is not None
    assert mask.shape == (360, 640)
    assert mask.sum() == 20 * 50
    assert mask[100:120, 200:250].all()


def test_mask_with_alpha_ignores_the_alpha(tmp_path):
    picture = np.zeros((360, 640, 4), np.uint8)
    picture[..., 3] = 255
    picture[5, 6] = (255, 255, 255, 255)
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    mask = build_prompt(PromptConfig(object=1, mask=str(tmp_path / "mask.png")), SIZE).mask
    assert mask is not None
    assert mask.sum() == 1


def test_bad_masks_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.full((10, 20), 255, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((360, 640), np.uint8))
    with pytest.raises(PromptError, match="20x10, the video 640x360"):
        build_prompt(PromptConfig(object=1, mask=str(tmp_path / "small.png")), SIZE)
    with pytest.raises(PromptError, match="all black"):
        build_prompt(PromptConfig(object=1, mask=str(tmp_path / "black.png")), SIZE)
    with pytest.raises(PromptError, match="cannot be read"):
        build_prompt(PromptConfig(object=1, mask=str(tmp_path / "none.png")), SIZE)
