from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention
from tracker_scenes import Add, clip, difference, play, show

from streamseg.tracker import memory_attention
from streamseg.tracker.attention_backend import CANDIDATES, AttentionBackends, choose_backends, fastest
from streamseg.tracker.compile import Buckets, CompiledEngine
from streamseg.tracker.predictor import CameraPredictor

CPU = torch.device("cpu")
HERE = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)  # what torch has on a CPU


def test_kernels_that_cannot_do_it_are_passed_over():
    q, k = torch.randn(1, 1, 16, 32), torch.randn(1, 1, 64, 32)
    assert fastest((SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH), q, k, None) is SDPBackend.MATH


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_kernel_is_chosen_for_each_kind(dtype):
    chosen = choose_backends(16, 64, 32, dtype, CPU)
    assert set(chosen) <= set(HERE) < set(CANDIDATES)


@pytest.mark.parametrize("pinned", HERE)
def test_a_pinned_kernel_is_the_one_that_runs(small: SAM2Base, pinned, monkeypatch):
    """Eager and traced; the results are the same up to rounding."""
    images, events = clip(4, small.image_size), {0: [Add(1, points=[(0.5, 0.5, 1)])]}
    show(small, 0)
    wanted = play(CameraPredictor(small), images, events)
    ran = []

    def spy(*args, **kwargs):
        ran.append((torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()))
        return scaled_dot_product_attention(*args, **kwargs)

    monkeypatch.setattr(memory_attention, "_SUMMED_FIRST_LIMIT", 0)  # all attention by torch
    eager = CameraPredictor(small)
    eager.step.attention.pin(AttentionBackends(pinned, pinned))
    with monkeypatch.context() as context:
        context.setattr(memory_attention.functional, "scaled_dot_product_attention", spy)
        found = difference(wanted, play(eager, images, events))
    assert found.logits < 1e-3, found
    flash = pinned is SDPBackend.FLASH_ATTENTION
    assert (flash, not flash) in ran  # sam2's decoder leaves both on

    torch._dynamo.reset()
    traced = CameraPredictor(
        small,
        engine=lambda step, dtype: CompiledEngine(step, dtype, buckets=Buckets((1,), (1,), pad=False), backend="eager"),
    )
    traced.step.attention.pin(AttentionBackends(pinned, pinned))
    traced.warm_up(lambda what, share: None)
    assert difference(wanted, play(traced, images, events)).logits < 1e-3
    torch._dynamo.reset()
