from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention
from tracker_scenes import Add, clip, difference, play, show

from streamseg.tracker import memory_attention
from streamseg.tracker.attention_backend import ANY_SHAPES, FIXED_SHAPES, choose_backends, fastest
from streamseg.tracker.compile import Buckets, CompiledEngine
from streamseg.tracker.engine import Engine
from streamseg.tracker.predictor import CameraPredictor

FLASH, MATH = SDPBackend.FLASH_ATTENTION, SDPBackend.MATH  # what torch has on a CPU
EVENTS = {0: [Add(1, points=[(0.5, 0.5, 1)])]}


@pytest.mark.parametrize("candidates", [(SDPBackend.CUDNN_ATTENTION, MATH), (SDPBackend.CUDNN_ATTENTION,), ()])
def test_kernels_that_cannot_do_it_are_passed_over(candidates):
    q, k = torch.randn(1, 1, 16, 32), torch.randn(1, 1, 64, 32)
    assert fastest(candidates, q, k, None) is MATH


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("candidates", [ANY_SHAPES, FIXED_SHAPES])
def test_the_fastest_come_first_and_one_can_do_everything(candidates, dtype):
    cpu = torch.device("cpu")
    chosen = choose_backends(candidates, queries=16, keys=64, masked_keys=72, channels=32, dtype=dtype, device=cpu)
    assert chosen == [FLASH, SDPBackend.EFFICIENT_ATTENTION, MATH]


@pytest.mark.parametrize("kernel", [FLASH, MATH])
def test_the_chosen_kernel_is_the_one_that_runs(small: SAM2Base, kernel, monkeypatch):
    images = clip(4, small.image_size)
    show(small, 0)
    wanted = play(CameraPredictor(small), images, EVENTS)
    enabled = set()

    def spy(*args, **kwargs):
        enabled.add((torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()))
        return scaled_dot_product_attention(*args, **kwargs)

    monkeypatch.setattr(memory_attention, "_SUMMED_FIRST_LIMIT", 0)  # all attention by torch
    monkeypatch.setattr(memory_attention.functional, "scaled_dot_product_attention", spy)
    predictor = CameraPredictor(small)
    predictor.engine.kernels_in_order = [kernel]
    found = difference(wanted, play(predictor, images, EVENTS))
    assert found.logits < 1e-3, found
    assert enabled == {(kernel is FLASH, kernel is MATH)}


def test_compiled_code_is_made_with_the_chosen_kernel(small: SAM2Base, monkeypatch):
    images = clip(4, small.image_size)
    show(small, 0)
    wanted = play(CameraPredictor(small), images, EVENTS)
    traced = []

    def backend(graph, inputs):
        traced.append((torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()))
        return graph

    def engine(step, dtype) -> Engine:
        return CompiledEngine(step, dtype, buckets=Buckets((1,), (1,), pad=False), backend=backend)

    torch._dynamo.reset()
    predictor = CameraPredictor(small, engine=engine)
    predictor.engine.kernels_in_order = [MATH]
    predictor.warm_up(lambda what, share: None)
    assert difference(wanted, play(predictor, images, EVENTS)).logits < 1e-3
    assert set(traced) == {(False, True)}
    torch._dynamo.reset()
