from __future__ import annotations

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.tracker.openvino.functions import StepFunction, step_inputs, step_result
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.memory_policy import POLICY_NAMES, MemoryPolicy, MemoryPolicyName
from tests.tracker.tracker_scenes import Add, clip, play


@pytest.mark.parametrize("policy", POLICY_NAMES)
@torch.inference_mode()
def test_the_step_as_a_function_of_tensors(small: SAM2Base, policy: MemoryPolicyName) -> None:
    """Whatever a policy adds to the memory that the step reads arrives there."""
    predictor = CameraPredictor(small, policy=MemoryPolicy(policy))
    images = clip(4, small.image_size)
    play(predictor, images, {0: [Add(1, points=[(0.5, 0.5, 1)]), Add(2, box=(0.3, 0.3, 0.7, 0.7))]})
    step, bank = predictor.step, predictor.bank
    features = step.encode(images[3][None]).select(torch.zeros(2, dtype=torch.int64))
    memory = step.read(bank, torch.tensor([[0, 1], [4, 4]]), 1, True, features.colors)
    if memory.others is not None:
        lowered, last = 5 * torch.rand_like(memory.others.lowered), (torch.rand_like(memory.others.last) < 0.5).float()
        memory = memory._replace(others=memory.others._replace(lowered=lowered, last=last))
    wanted = step.infer(memory, features, True)
    given = step_result(StepFunction(step)(*step_inputs(memory, features)))
    assert all(map(torch.equal, (*given.output, *given[1:]), (*wanted.output, *wanted[1:])))
