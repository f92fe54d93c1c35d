"""Encoder and tracking step as functions of tensors, and their conversion to OpenVINO's format.

Both are traced at one size, but in terms of their inputs' shapes, so one converted step serves any number of lanes and
conditioning slots: its shapes are fixed at compilation (:mod:`streamseg.tracker.openvino.network`). Torch reads and
writes the bank.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from streamseg.tracker.sam2.appearance import Evidence
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank, Recall
from streamseg.tracker.sam2.step import Features, Memory, StepOutput, Tracked, TrackStep

if TYPE_CHECKING:
    import openvino

_COMPUTED: Final = 4
"""The first fields of :class:`Features` come from the network; colors do not."""


class EncoderFunction(nn.Module):
    """:meth:`TrackStep.encode` of ``[S, 3, image_size, image_size]``."""

    def __init__(self, step: TrackStep) -> None:
        super().__init__()
        self._step = step

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of :class:`Features`, without the colors."""
        return tuple(self._step.encode(images)[:_COMPUTED])


class StepFunction(nn.Module):
    """:meth:`TrackStep.infer` of the tensors of :func:`step_inputs`, with masked slots."""

    def __init__(self, step: TrackStep) -> None:
        super().__init__()
        self._step = step

    def forward(
        self,
        top: Tensor,
        attended: Tensor,
        stride8: Tensor,
        stride4: Tensor,
        slots: Tensor,
        slots_valid: Tensor,
        pointers: Tensor,
        pointers_valid: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the tensors of :class:`Tracked`, masks first."""
        # Ages are read only for slots packed into ranges, which happens only on CUDA.
        recall = Recall(slots, slots_valid, slots_valid, pointers, pointers_valid, pointers_valid)
        given = list(others)
        sines = given.pop(0) if self._step.model.add_tpos_enc_to_obj_ptrs else pointers[..., :0]
        # Only these two fields of the evidence are read here.
        unread = slots_valid
        evidence = Evidence(given[0], unread, unread, unread, given[1], unread) if given else None
        memory = Memory(recall, sines, evidence)
        tracked = self._step.infer(memory, Features(top, attended, stride8, stride4, colors=top), True)
        return (*tracked.output, *tracked[1:])


def step_inputs(memory: Memory, features: Features) -> tuple[Tensor, ...]:
    """Return the inputs of :class:`StepFunction`."""
    recall, sines = memory.recall, memory.pointer_sines
    needed = (recall.features, recall.features_valid, recall.pointers, recall.pointers_valid)
    others = () if memory.others is None else (memory.others.lowered, memory.others.last)
    return (*features[:_COMPUTED], *needed, *([sines] if sines.shape[-1] else []), *others)


def blank_inputs(
    step: TrackStep, features: Features, shape: BankShape, lanes: int, conditioning: int
) -> tuple[Tensor, ...]:
    """Return inputs of :class:`StepFunction` without any memory.

    Args:
        step: The step.
        features: Features of one frame.
        shape: Shape of the bank.
        lanes: Number of lanes.
        conditioning: Slots of conditioning frames.
    """
    bank = MemoryBank(shape, lanes, torch.device("cpu"))
    index = torch.stack([torch.arange(lanes), torch.zeros(lanes, dtype=torch.int64)])
    rows = features.select(torch.zeros_like(index[0]))
    return step_inputs(step.read(bank, index, conditioning, True, rows.colors), rows)


def step_result(outputs: tuple[Tensor, ...]) -> Tracked:
    """Return the result from the outputs of :class:`StepFunction`."""
    return Tracked(StepOutput(*outputs[:3]), *outputs[3:])


def convert(function: nn.Module, inputs: tuple[Tensor, ...]) -> openvino.Model:
    """Convert a function to OpenVINO's format, for inputs of any sizes. Blocks: seconds.

    Uses only the frontend: ``openvino.convert_model`` reports each conversion to Intel unless the user has opted out.

    Args:
        function: The function, with float32 weights.
        inputs: Inputs for tracing.

    Raises:
        Exception: It cannot be converted; OpenVINO raises many kinds.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about every assertion, and torch about tracing
        decoder = TorchScriptPythonDecoder(function, example_input=inputs, trace_kwargs={"check_trace": False})
        frontend = FrontEndManager().load_by_framework("pytorch")
        return frontend.convert(frontend.load(decoder))
