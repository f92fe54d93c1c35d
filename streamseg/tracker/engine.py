"""Runs the encoder and the tracking step as they are: every batch at its own size.

:mod:`streamseg.tracker.compiled.compile` runs the very same functions compiled, at a few fixed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from streamseg.tracker.sam2.attention_backend import ANY_SHAPES, choose_backends
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.ranged_attention import VARLEN_DTYPES, VARLEN_KERNELS
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

Progress = Callable[[str, float], None]
"""Told what is being done, and the share that is done."""


def hold_in(step: TrackStep, dtype: torch.dtype) -> None:
    """Hold the weights of matrix products and convolutions as autocast would cast them, which it does on every frame.

    The results are the same. Tiny at 256 pixels on two Zen 4 cores: 24 of 145 ms went into casting weights.

    Raises:
        ValueError: another engine holds the model's weights in low precision already.
    """
    if step.model.sam_mask_decoder.conv_s0.weight.dtype != torch.float32:
        raise ValueError("the model's weights are not in float32: build it anew for each predictor")
    for module in step.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)
    step.attention.hold_in(dtype)


def precision(step: TrackStep, autocast: torch.dtype | None) -> AbstractContextManager[object]:
    """The context in which a model computes; None for float32."""
    return nullcontext() if autocast is None else torch.autocast(step.model.device.type, dtype=autocast)


def _preferring(kernels: list[SDPBackend]) -> AbstractContextManager[object]:
    """The context in which torch takes the first of them that can; none leaves it to torch."""
    return sdpa_kernel(kernels, set_priority=True) if kernels else nullcontext()


class LaneFrame(NamedTuple):
    """One lane's next frame.

    Attributes:
        lane: Its place in the bank.
        frame: The frame's number.
        row: The frame's row in the features.
    """

    lane: int
    frame: int
    row: int


class Engine:
    """Eager: no preparation, any number of lanes in one batch.

    Args:
        step: Holds the model.
        autocast: Precision of the model's arithmetic; None for float32.

    Attributes:
        least_lanes: Lanes that a bank should have from the beginning.
        needs_padding_lane: Whether a lane has to be kept free for padding.
        attention_candidates: Attention kernels that are tried on a CUDA device.
        kernels_in_order: Those that were chosen; empty to leave it to torch.
        recorded_anew: How often graphs had to be recorded again after the warm-up.
    """

    least_lanes = 1
    needs_padding_lane = False
    attention_candidates: Sequence[SDPBackend] = ANY_SHAPES

    def __init__(self, step: TrackStep, autocast: torch.dtype | None) -> None:
        self._step = step
        self._autocast = autocast
        self._device = step.model.device
        self.kernels_in_order: list[SDPBackend] = []
        self.recorded_anew = 0
        if autocast is not None:
            hold_in(step, autocast)

    def precision(self) -> AbstractContextManager[object]:
        """The context in which the model computes."""
        return precision(self._step, self._autocast)

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Prepare everything that any later call needs."""
        self.choose_kernels(bank)

    def bank_grew(self, bank: MemoryBank) -> None:
        """Take note that the memory is another one now, with more lanes: those of the old one are as they were."""

    def choose_kernels(self, bank: MemoryBank) -> None:
        """On a CUDA device, choose the attention kernels by measurement. Syncs. On a CPU torch has one."""
        if self._device.type != "cuda":
            return
        shape = bank.shape
        chosen = choose_backends(
            self.attention_candidates,
            VARLEN_KERNELS if self._autocast in VARLEN_DTYPES else (),
            queries=shape.tokens,
            keys=self._step.keys(shape, 1),
            masked_keys=self._step.keys(shape, shape.conditioning_frames),
            channels=self._step.model.hidden_dim,
            dtype=self._autocast or torch.float32,
            device=self._device,
            as_run=self.as_run,
        )
        self.kernels_in_order = chosen.in_order
        self._step.attention.attend_ranges = chosen.ranges

    def as_run(self, function: Callable[[], object]) -> Callable[[], object]:
        """What takes as long as the function does where this engine runs it."""
        return function

    def kernels(self) -> AbstractContextManager[object]:
        """The context in which torch takes the kernels that were chosen.

        It is never part of what is compiled: torch would not keep such code for the next start.
        """
        return _preferring(self.kernels_in_order)

    def prompt_kernels(self) -> AbstractContextManager[object]:
        """The same for prompts, which come in every shape: without cuDNN's kernel, which plans anew for each."""
        return _preferring([kernel for kernel in self.kernels_in_order if kernel != SDPBackend.CUDNN_ATTENTION])

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``."""
        with self.kernels(), self.precision():
            return self._step.encode(images)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it, see :meth:`TrackStep.forward`. Lifetime: the caller's."""
        index, own = self._inputs(lanes, features)
        with self.kernels(), self.precision():
            out: StepOutput = self._step(bank, index, own, conditioning, masked)
        return out

    def _inputs(self, lanes: Sequence[LaneFrame], features: Features) -> tuple[Tensor, Features]:
        """``[2, B]`` int64 lanes and frames, and each lane's own features."""
        index = torch.tensor(list(zip(*lanes, strict=True))).to(self._device, non_blocking=True)
        return index[:2], features.row(lanes[0].row) if len(lanes) == 1 else features.select(index[2])
