from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from streamseg.tracker.postprocess import LowRes, _on_device, to_results
from streamseg.tracker.types import ObjectResult


def full_masks(mask_logits: torch.Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """What the reference does: interpolate everything, then threshold."""
    resized = functional.interpolate(
        mask_logits[:, None], size=(size[1], size[0]), mode="bilinear", align_corners=False
    )
    return (resized[:, 0] > 0).numpy()


def blobs(seed: int, lanes: int, low: int, spread: float, level: float) -> torch.Tensor:
    """``[N, low, low]``: smooth random logits, from none to all of them positive."""
    coarse = torch.randn(lanes, 1, max(low // 8, 1), max(low // 8, 1), generator=generator(seed))
    return spread * functional.interpolate(coarse, size=(low, low), mode="bicubic")[:, 0] + level


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_one(*stream: Any) -> list[ObjectResult]:
    (results,) = to_results([LowRes(*stream)])
    return results


def assert_measured(result: ObjectResult, mask: NDArray[np.bool_]) -> None:
    """Compare with the plainest computation on the whole mask."""
    assert np.array_equal(result.full_mask, mask)
    assert result.area == mask.sum()
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        assert (result.roi, result.centroid, result.mask.shape) == ((0, 0, 0, 0), (0.0, 0.0), (0, 0))
        return
    x, y, w, h = result.roi
    assert (x, y, x + w - 1, y + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
    assert result.centroid == pytest.approx((columns.mean(), rows.mean()))
    assert result.mask.dtype == np.bool_
    assert result.mask.flags.c_contiguous


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    low=st.sampled_from([8, 16, 56, 64]),
    size=st.tuples(st.integers(1, 400), st.integers(1, 300)),
    spread=st.sampled_from([0.01, 1.0, 10.0]),
    level=st.floats(-15, 15),
    binary=st.booleans(),
)
def test_masks_are_the_references_bit_for_bit(seed, low, size, spread, level, binary):
    logits = blobs(seed, 2, low, spread, level)
    if binary:  # as from a mask prompt: interpolation passes through exactly 0 again and again
        logits = torch.where(logits > 0, 10.0, -10.0)
    expected = full_masks(logits, size)
    results = of_one([5, 9], logits, torch.tensor([0.5, 0.25]), torch.tensor([3.0, -2.0]), size)
    for result, mask in zip(results, expected, strict=True):
        assert_measured(result, mask)


@pytest.mark.parametrize("size", [(65, 1), (1, 65), (65, 2), (100, 40), (1000, 10), (7, 900), (128, 130), (129, 131)])
@pytest.mark.parametrize("low", [16, 64])
def test_masks_of_thin_and_small_frames_are_the_references(low, size):
    """Interpolation of 10 and -10 passes through exactly 0, where every rounding shows."""
    logits = torch.cat(
        [blobs(seed, 2, low, (0.01, 1.0, 10.0)[seed % 3], (-3.0, 0.0, 2.0)[seed // 3 % 3]) for seed in range(60)]
    )
    logits = torch.where(logits > 0, 10.0, -10.0)
    results = of_one(range(len(logits)), logits, torch.zeros(len(logits)), torch.zeros(len(logits)), size)
    wrong = [
        index
        for index, (result, mask) in enumerate(zip(results, full_masks(logits, size), strict=True))
        if not np.array_equal(result.full_mask, mask)
    ]
    assert wrong == []


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (640, 360), (255, 257)])
@pytest.mark.parametrize("low", [64, 128, 256])
def test_masks_of_usual_sizes_are_the_references(low, size):
    y, x = torch.meshgrid(torch.arange(float(low)), torch.arange(float(low)), indexing="ij")
    near_corner = 0.2 * low - (x - 0.1 * low).hypot(y - 0.05 * low)
    middle = 0.3 * low - (x - 0.5 * low).hypot(y - 0.5 * low)
    single = torch.full((low, low), -0.1)
    single[low // 3, low - 1] = 5.0
    everything = torch.full((low, low), 1.0)
    nothing = torch.full((low, low), -1024.0)
    logits = torch.stack((near_corner, middle, single, everything, nothing))
    results = of_one(range(5), logits, torch.zeros(5), torch.zeros(5), size)
    for result, mask in zip(results, full_masks(logits, size), strict=True):
        assert_measured(result, mask)
    assert results[3].area == size[0] * size[1]
    assert results[4].area == 0


@pytest.mark.parametrize("lanes", [1, 3, 17])
def test_the_device_path_gives_the_same(lanes):
    """Run on the CPU here; on CUDA only the place differs. Streams of several sizes, one without objects."""
    sizes = [(64, 48), (71, 33), (65, 48), (64, 48), (7, 5)]
    streams = [
        LowRes(range(lanes), blobs(seed, lanes, 16, 3.0, -1.0), *torch.randn(2, lanes, generator=generator(seed)), size)
        for seed, size in enumerate(sizes)
    ]
    nothing = LowRes([], torch.zeros(0, 16, 16), torch.zeros(0), torch.zeros(0), (64, 48))
    found = _on_device([streams[0], nothing, *streams[1:]])
    assert found.pop(1) == []
    for stream, results in zip(streams, found, strict=True):
        assert [result.obj_id for result in results] == list(range(lanes))
        assert torch.equal(torch.tensor([result.iou_prediction for result in results]), stream.iou_prediction)
        assert torch.equal(torch.tensor([result.object_score_logits for result in results]), stream.object_score_logits)
        for result, mask in zip(results, full_masks(stream.mask_logits, stream.size), strict=True):
            assert result.size == stream.size
            assert_measured(result, mask)


def test_the_device_path_without_objects():
    nothing = LowRes([], torch.zeros(0, 16, 16), torch.zeros(0), torch.zeros(0), (64, 48))
    assert _on_device([nothing, nothing]) == [[], []]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    logits = blobs(5, 20, 64, 3.0, -1.0)
    scores = torch.rand(20), torch.rand(20)
    on_cpu = of_one(range(20), logits, *scores, (1001, 777))
    on_cuda = of_one(range(20), logits.cuda(), *(score.cuda() for score in scores), (1001, 777))
    for one, other in zip(on_cpu, on_cuda, strict=True):
        assert (one.full_mask != other.full_mask).mean() < 1e-5
        assert one.iou_prediction == other.iou_prediction


def test_scores_and_ids_are_carried_through():
    logits = blobs(1, 3, 16, 3.0, 0.0)
    results = of_one([7, 3, 5], logits, torch.tensor([0.5, 0.25, 1.0]), torch.tensor([-8.0, 0.0, 2.0]), (32, 32))
    assert [result.obj_id for result in results] == [7, 3, 5]
    assert [result.iou_prediction for result in results] == [0.5, 0.25, 1.0]
    assert [result.object_score_logits for result in results] == [-8.0, 0.0, 2.0]


def test_bfloat16_logits_are_accepted():
    logits = blobs(2, 1, 16, 3.0, 0.0).bfloat16()
    (result,) = of_one([1], logits, torch.ones(1).bfloat16(), torch.ones(1).bfloat16(), (50, 40))
    assert_measured(result, full_masks(logits.float(), (50, 40))[0])


@pytest.mark.parametrize("size", [(64, 48), (7, 5)])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_broken_logits_are_carried_through(broken, size):
    logits = torch.stack((torch.full((16, 16), broken), blobs(1, 1, 16, 3.0, 0.0)[0], torch.ones(16, 16)))
    logits[1, 4:6, 4:6] = broken
    scores = torch.tensor([broken, broken, 1.0])
    results = of_one([1, 2, 3], logits, torch.ones(3), scores, size)
    assert [result.object_score_logits for result in results] == pytest.approx(scores.tolist(), nan_ok=True)
    # A mask with such values means nothing, and the score says so.
    assert [math.isnan(result.iou_prediction) for result in results] == [True, True, False]
    assert (results[0].area > 0) == (broken > 0)
    assert results[2].area == size[0] * size[1]


def test_no_objects_give_no_results():
    assert of_one([], torch.zeros(0, 8, 8), torch.zeros(0), torch.zeros(0), (32, 32)) == []


def test_lengths_must_agree():
    stream = LowRes([1, 2], torch.ones(1, 8, 8), torch.zeros(1), torch.zeros(1), (32, 32))
    with pytest.raises(ValueError, match="zip"):
        to_results([stream])
    with pytest.raises(ValueError, match="2 objects but 1 masks"):
        _on_device([stream])
