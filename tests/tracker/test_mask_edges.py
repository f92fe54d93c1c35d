from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from streamseg.config.schema import ModelConfig
from streamseg.models.registry import resolve
from streamseg.sources.scene.source import Scene
from streamseg.tracker.mask_edges import _at_video_size, color_edged, colors_of, share_of_object
from streamseg.tracker.postprocess import LowRes, to_results
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import ObjectResult, Point, Prompt
from tests.tracker.lost_leaf import frame

SIDE = 256
CELLS = SIDE // 4
Picture = NDArray[np.uint8]
BoolMask = NDArray[np.bool_]


def disk(x: float, y: float, radius: float, side: int = SIDE) -> BoolMask:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray(np.hypot(columns - x, rows - y) < radius)


def painted(*objects: tuple[BoolMask, tuple[int, int, int]], noise: int = 40) -> Picture:
    """Return ``[3, S, S]``: objects on gray-blue noise."""
    random = np.random.default_rng(0)
    picture = np.full((SIDE, SIDE, 3), (60, 80, 120), np.int16)
    for mask, color in objects:
        picture[mask] = color
    picture += random.integers(-noise, noise + 1, picture.shape, np.int16)
    return np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def decoded(mask: BoolMask, offset: float = 0.0) -> torch.Tensor:
    """Return logits ``[1, h, w]`` of a blurred mask, as a decoder would give them."""
    cells = cv2.resize(mask.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.GaussianBlur(cells, (0, 0), 1.5) * 12 - 6 + offset)[None]


def masks_of(logits: torch.Tensor, size: tuple[int, int] = (SIDE, SIDE)) -> LowRes:
    count = len(logits)
    return LowRes(tuple(range(1, count + 1)), logits, torch.full((count,), 0.9), torch.ones(count), size)


def iou(result: ObjectResult, truth: BoolMask) -> float:
    mask = result.full_mask
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("offset", [-4.0, 4.0], ids=["too small", "too large"])
def test_edges_move_to_where_the_colors_change(offset: float) -> None:
    truth = disk(120, 130, 40)
    picture = painted((truth, (200, 60, 40)))
    masks = masks_of(decoded(truth, offset))
    ((before,),) = to_results([masks])
    (after,) = color_edged(masks, torch.from_numpy(picture))
    assert iou(before, truth) < 0.9
    assert iou(after, truth) > 0.95


def test_scores_are_those_of_the_model() -> None:
    truth = disk(120, 130, 40)
    masks = masks_of(decoded(truth))._replace(confidence=torch.tensor([0.7]))
    (result,) = color_edged(masks, torch.from_numpy(painted((truth, (200, 60, 40)))))
    assert (result.obj_id, result.iou_prediction, result.object_score_logits) == (1, pytest.approx(0.9), 1.0)
    assert result.confidence == pytest.approx(0.7)


def test_what_is_far_from_the_edge_stays() -> None:
    """A patch in another color well inside belongs to the object, and one like the object outside does not."""
    truth = disk(128, 128, 60)
    picture = painted((truth, (200, 60, 40)), (disk(128, 128, 12), (60, 80, 120)), (disk(24, 24, 12), (200, 60, 40)))
    (result,) = color_edged(masks_of(decoded(truth)), torch.from_numpy(picture))
    assert result.full_mask[120:136, 120:136].all()
    assert not result.full_mask[:48, :48].any()


def test_an_object_does_not_gain_what_another_claims_more() -> None:
    """Two objects of one color touch; each mask alone would spread into the other."""
    left, right = disk(90, 128, 30), disk(150, 128, 30)
    picture = torch.from_numpy(painted((left, (200, 60, 40)), (right, (200, 60, 40))))
    logits = torch.cat([decoded(left), decoded(right)])
    first, second = color_edged(masks_of(logits), picture)
    assert iou(first, left) > 0.9
    assert iou(second, right) > 0.9
    assert (first.full_mask & second.full_mask).sum() < 0.02 * left.sum()


def test_candidates_for_one_object_do_not_limit_each_other() -> None:
    small, large = decoded(disk(120, 130, 30)), decoded(disk(120, 130, 40))
    picture = torch.from_numpy(painted((disk(120, 130, 40), (200, 60, 40))))
    together = color_edged(masks_of(torch.cat([small, large])), picture, alternatives=True)
    for one, alone in zip((small, large), together, strict=True):
        (wanted,) = color_edged(masks_of(one), picture)
        assert np.array_equal(wanted.full_mask, alone.full_mask)


def thin(peak: float, cells: int) -> torch.Tensor:
    """Return logits of a bar that is some cells wide."""
    logits = torch.full((1, CELLS, CELLS), -4.0)
    logits[0, 30 : 30 + cells, 2:62] = peak
    return logits


@pytest.mark.parametrize("cells", [1, 2, 3])
@pytest.mark.parametrize("peak", [1.0, 2.0, 6.0])
def test_where_colors_tell_nothing_a_mask_stays(peak: float, cells: int) -> None:
    masks = masks_of(thin(peak, cells))
    ((before,),) = to_results([masks])
    (after,) = color_edged(masks, torch.full((3, SIDE, SIDE), 90, dtype=torch.uint8))
    assert np.array_equal(after.full_mask, before.full_mask)


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_thin_objects_with_the_colors_of_their_surroundings_are_not_lost(cells: int) -> None:
    masks = masks_of(thin(2.0, cells))
    ((before,),) = to_results([masks])
    (after,) = color_edged(masks, torch.from_numpy(painted()))
    assert iou(after, before.full_mask) > 0.9


@pytest.mark.parametrize("value", [-1.0, -1024.0])
def test_an_empty_mask_stays_empty(value: float) -> None:
    (result,) = color_edged(masks_of(torch.full((1, CELLS, CELLS), value)), torch.from_numpy(painted()))
    assert (result.area, result.roi) == (0, (0, 0, 0, 0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_mask_with_a_value_that_is_not_finite_is_empty_and_has_no_score(value: float) -> None:
    logits = decoded(disk(128, 128, 40))
    logits[0, 30, 30] = value
    other = decoded(disk(60, 60, 20))
    broken, sound = color_edged(masks_of(torch.cat([logits, other])), torch.from_numpy(painted()))
    assert broken.area == 0
    assert math.isnan(broken.iou_prediction)
    assert sound.area > 0


def test_a_mask_of_the_whole_picture_stays() -> None:
    (result,) = color_edged(masks_of(torch.full((1, CELLS, CELLS), 5.0)), torch.from_numpy(painted()))
    assert result.area == SIDE * SIDE


def test_without_objects_there_is_nothing() -> None:
    assert color_edged(masks_of(torch.zeros(0, CELLS, CELLS)), torch.from_numpy(painted())) == []


def test_gray_pictures() -> None:
    truth = disk(120, 130, 40)
    picture = painted((truth, (200, 200, 200)))[:1]
    (result,) = color_edged(masks_of(decoded(truth, -4.0)), torch.from_numpy(picture))
    assert iou(result, truth) > 0.95


def test_colors_are_numbered_below_2048() -> None:
    levels = np.array([0, 1, 127, 128, 254, 255], np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels)).reshape(3, 6, 36)
    colors = colors_of(cube)
    assert colors.shape == (6, 36)
    assert (colors.min(), colors.max()) >= (0, 0)
    assert colors.max() < 2048
    assert len(np.unique(colors)) > 20


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 700), st.integers(1, 500)) | st.sampled_from([(1920, 1080), (640, 360), (521, 1)]),
    box=st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(24, 56), st.integers(24, 56)),
)
def test_a_part_is_scaled_as_the_whole_picture_is(
    seed: int, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    """Apart from values within two hundredths of one half."""
    x, y, w, h = box
    coarse = np.random.default_rng(seed).random((8, 8), np.float32)
    share = np.zeros((SIDE, SIDE), np.float32)
    share[y : y + h, x : x + w] = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    share[y, :] = share[y + h - 1, :] = share[:, x] = share[:, x + w - 1] = 0
    part = slice(y, y + h), slice(x, x + w)
    (left, top), mask = _at_video_size(part, share[part], SIDE, size)
    whole = functional.interpolate(
        torch.from_numpy(share)[None, None], size=size[::-1], mode="bilinear", align_corners=False
    )[0, 0].numpy()
    found = np.zeros(size[::-1], np.bool_)
    found[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    sure = np.abs(whole - 0.5) > 0.02
    assert np.array_equal(found[sure], (whole > 0.5)[sure])


def test_the_part_holds_the_whole_object() -> None:
    logits = decoded(disk(5, 250, 20)).numpy()
    part, share = share_of_object(logits[0], logits[:0], colors_of(painted((disk(5, 250, 20), (200, 60, 40)))))
    assert share.shape == tuple(side.stop - side.start for side in part)
    whole = cv2.resize(logits[0], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0
    whole[part] = False
    assert not whole.any()


def nano(**settings: Any) -> Sam2Tracker:
    config = ModelConfig(device="cpu", dtype="float32", engine="torch", threads=1, **settings)
    return Sam2Tracker.from_config(resolve(config), config)


def test_nano_publishes_such_masks_and_remembers_its_own() -> None:
    """On 12 frames of a scene the IoU rises by at least 0.03, and the memory is the same to the last bit."""
    scene = Scene("scene:default?seed=503&size=640x360&fps=15")
    trackers = {"auto": nano(), "model": nano(mask_edges="model")}
    ious: dict[str, list[float]] = {name: [] for name in trackers}
    for tracker in trackers.values():
        tracker.open_stream("cam")
    for number in range(12):
        picture, truth = scene.render(number), scene.truth(number)
        for name, tracker in trackers.items():
            results = tracker.track({"cam": frame(number, picture)})["cam"]
            ious[name] += [iou(result, truth[result.obj_id]) for result in results if truth[result.obj_id].any()]
            if number == 0:
                for obj_id, mask in truth.items():
                    tracker.add_prompt("cam", Prompt(obj_id=obj_id, mask=mask))
    assert np.mean(ious["auto"]) > np.mean(ious["model"]) + 0.03
    memory = {name: tracker.export_memory("cam") for name, tracker in trackers.items()}
    for obj_id, arrays in memory["auto"].objects.items():
        for part, values in arrays.items():
            assert np.array_equal(values, memory["model"].objects[obj_id][part]), part


def test_a_mask_that_the_user_gave_keeps_its_edges() -> None:
    scene = Scene("scene:default?seed=503&size=640x360&fps=15")
    given = scene.truth(0)[1]
    replies = []
    for edges in ("auto", "model"):
        tracker = nano(mask_edges=edges)
        tracker.open_stream("cam")
        tracker.track({"cam": frame(0, scene.render(0))})
        prompt = Prompt(obj_id=1, mask=given)
        replies.append((tracker.preview("cam", prompt).prompted, tracker.add_prompt("cam", prompt).prompted))
    for ours, plain in zip(*replies, strict=True):
        assert np.array_equal(ours.full_mask, plain.full_mask)


def test_a_given_mask_keeps_its_edges_when_later_prompts_are_undone_or_earlier_frames_are_corrected() -> None:
    scene = Scene("scene:default?seed=503&size=640x360&fps=15")
    tracker = nano()
    tracker.open_stream("cam")
    for number in range(3):
        tracker.track({"cam": frame(number, scene.render(number))})
    x, y = scene.click_point(0, 1) or (0, 0)
    click = Prompt(obj_id=1, points=(Point(x, y),))
    tracker.add_prompt("cam", click, 0)
    given = tracker.add_prompt("cam", Prompt(obj_id=1, mask=scene.truth(2)[1])).current
    again = tracker.add_prompt("cam", click, 1).current
    assert np.array_equal(again.full_mask, given.full_mask)
    x, y = scene.click_point(2, 1) or (0, 0)
    clicked = tracker.add_prompt("cam", Prompt(obj_id=1, points=(Point(x, y),))).current
    assert not np.array_equal(clicked.full_mask, given.full_mask)
    undone = tracker.undo_prompt("cam", 1)
    assert undone is not None
    assert np.array_equal(undone.current.full_mask, given.full_mask)
