from __future__ import annotations

import logging
import time

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2 import attention_backend, memory_attention
from streamseg.tracker.sam2.attention_backend import ANY_SHAPES, FIXED_SHAPES, Kernels, choose_backends
from streamseg.tracker.sam2.ranged_attention import VARLEN_KERNELS, KeyRanges, attend_ranges_masked
from tests.tracker.tracker_scenes import Add, clip, difference, play, show

FLASH, MATH = SDPBackend.FLASH_ATTENTION, SDPBackend.MATH  # what torch has on a CPU
EVENTS = {0: [Add(1, points=[(0.5, 0.5, 1)])]}


def choose(candidates, range_candidates=(), dtype=torch.float32, **options) -> Kernels:
    shape = {"queries": 16, "keys": 64, "masked_keys": 72, "channels": 32, "device": torch.device("cpu")}
    return choose_backends(candidates, range_candidates, **shape, dtype=dtype, **options)


@pytest.mark.parametrize("candidates", [(SDPBackend.CUDNN_ATTENTION, MATH), (SDPBackend.CUDNN_ATTENTION,), ()])
def test_kernels_that_cannot_do_it_are_passed_over(candidates):
    assert choose(candidates, VARLEN_KERNELS) == ([MATH, SDPBackend.EFFICIENT_ATTENTION], None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("candidates", [ANY_SHAPES, FIXED_SHAPES])
def test_the_fastest_come_first_and_one_can_do_everything(candidates, dtype):
    assert choose(candidates, dtype=dtype) == ([FLASH, SDPBackend.EFFICIENT_ATTENTION, MATH], None)


def attend_anywhere(q, k, v, ranges):
    """A kernel for ranges that runs while torch may only use flash, which torch 2.7 lacks for three dimensions."""
    with sdpa_kernel(MATH):
        return attend_ranges_masked(q, k, v, ranges)


def slowly(seconds: float):
    def attend(q, k, v, ranges):
        time.sleep(seconds)
        return attend_anywhere(q, k, v, ranges)

    return attend


def test_the_fastest_kernel_for_ranges_is_taken_if_no_mask_is_faster(monkeypatch):
    slow, fast = slowly(0), slowly(0)
    seconds = {slow: 0.02, fast: 0.005}
    monkeypatch.setattr(
        attention_backend, "median_s", lambda run, device: seconds.get(getattr(run, "func", None), 0.001)
    )
    assert choose([], [slow, fast, slow]) == ([MATH, FLASH, SDPBackend.EFFICIENT_ATTENTION], fast)
    assert choose([FLASH], [slow, fast]) == ([FLASH, SDPBackend.EFFICIENT_ATTENTION, MATH], None)


def test_a_kernel_that_is_hardly_faster_changes_nothing(monkeypatch):
    times = iter([1.0, 0.95, 0.89, 0.5, 0.3, 0.28, 0.6])
    monkeypatch.setattr(attention_backend, "median_s", lambda function, device: next(times))
    first, second, third = slowly(0), slowly(0), slowly(0)
    # All keys, then a mask: flash and math each; then ranges.
    assert choose([FLASH, MATH], [first, second, third]) == ([FLASH, SDPBackend.EFFICIENT_ATTENTION, MATH], first)


@pytest.mark.parametrize("off", [-1, 1])
def test_a_kernel_that_is_fast_and_wrong_is_not_taken(off, caplog):
    def wrong(q, k, v, ranges):
        return attend_anywhere(q, k, v, KeyRanges(ranges.starts + off, ranges.lengths))

    with caplog.at_level(logging.WARNING):
        assert choose([], [wrong]).ranges is None
    assert "not used" in caplog.text


def test_kernels_are_timed_as_they_run():
    slow, fast = slowly(0.02), slowly(0.005)

    def replayed(function):  # without the slow one's time on the host
        return lambda: function() if function.func is fast else None

    assert choose([], [slow, fast], as_run=replayed).ranges is slow


def test_ranges_are_measured_on_a_full_memory_among_empty_slots():
    seen = []

    def attend(q, k, v, ranges):
        seen.append((q.shape, k.shape, v.shape, ranges.starts.tolist(), ranges.lengths.tolist()))
        return q

    choose([], [attend])
    assert set(map(str, seen)) == {str((torch.Size([1, 16, 32]), *[torch.Size([1, 72, 32])] * 2, [8], [64]))}


def watched(monkeypatch, *switches) -> set[tuple[bool, ...]]:
    """The switches during memory attention, all with torch's kernels."""
    seen = set()

    def spy(*args, **kwargs):
        seen.add(tuple(is_on() for is_on in switches))
        return scaled_dot_product_attention(*args, **kwargs)

    monkeypatch.setattr(memory_attention, "_SUMMED_FIRST_LIMIT", 0)
    monkeypatch.setattr(memory_attention.functional, "scaled_dot_product_attention", spy)
    return seen


@pytest.mark.parametrize("kernel", [FLASH, MATH])
def test_the_chosen_kernel_is_the_one_that_runs(small: SAM2Base, kernel, monkeypatch):
    images = clip(4, small.image_size)
    show(small, 0)
    wanted = play(CameraPredictor(small), images, EVENTS)
    enabled = watched(monkeypatch, torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.math_sdp_enabled)
    predictor = CameraPredictor(small)
    predictor.engine.kernels_in_order = [kernel]
    found = difference(wanted, play(predictor, images, EVENTS))
    assert found.logits < 1e-3, found
    assert enabled == {(kernel is FLASH, kernel is MATH)}


def test_prompts_never_take_cudnns_kernel(small: SAM2Base, monkeypatch):
    enabled = watched(monkeypatch, torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.math_sdp_enabled)
    show(small, 0)
    predictor = CameraPredictor(small)
    predictor.engine.kernels_in_order = [SDPBackend.CUDNN_ATTENTION, MATH]
    images = clip(2, small.image_size)
    play(predictor, images, EVENTS, stream="a")
    enabled.clear()
    predictor.track({"a": images[0]})
    assert enabled == {(True, True)}
    enabled.clear()
    predictor.add_prompt("a", 1, points_norm=torch.tensor([[0.4, 0.4]]), labels=torch.tensor([1]))  # reads memory
    assert enabled == {(False, True)}
