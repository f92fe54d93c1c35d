"""Runs the encoder and the tracking step eagerly, every batch at its own size.

:mod:`streamseg.tracker.compiled.compile` runs the same functions compiled, at a few fixed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from streamseg.tracker.sam2.attention_backend import ANY_SHAPES, choose_backends
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.ranged_attention import VARLEN_DTYPES, VARLEN_KERNELS
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

Progress = Callable[[str, float], None]
"""Called with the current step and the share that is done (0..1)."""


_Batch = TypeVar("_Batch", Features, StepOutput)


def joined(batches: Sequence[_Batch]) -> _Batch:
    """Return several batches joined into one. A single one is not copied."""
    if len(batches) == 1:
        return batches[0]
    return type(batches[0])(*(torch.cat(values) for values in zip(*batches, strict=True)))


def cast_weights(step: TrackStep, dtype: torch.dtype) -> None:
    """Convert the weights of matrix products and convolutions once; autocast would do it on every frame.

    The results are the same. Tiny at 256 pixels on two Zen 4 cores: 24 of 145 ms went into converting weights.

    Raises:
        ValueError: Another engine has converted the model's weights already.
    """
    if step.model.sam_mask_decoder.conv_s0.weight.dtype != torch.float32:
        raise ValueError("the model's weights are not float32: build a new model for each predictor")
    for module in step.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)
    step.attention.cast_weights(dtype)


def precision(step: TrackStep, autocast: torch.dtype | None) -> AbstractContextManager[object]:
    """Return the context in which a model computes; ``autocast`` None is float32."""
    return nullcontext() if autocast is None else torch.autocast(step.model.device.type, dtype=autocast)


def preferring(kernels: list[SDPBackend]) -> AbstractContextManager[object]:
    """Return the context in which torch prefers these kernels, in this order; empty leaves the choice to torch."""
    return sdpa_kernel(kernels, set_priority=True) if kernels else nullcontext()


class LaneFrame(NamedTuple):
    """One lane's next frame.

    Attributes:
        lane: The lane's index in the bank.
        frame: The frame's number.
        row: The frame's row in the features.
    """

    lane: int
    frame: int
    row: int


def lane_inputs(lanes: Sequence[LaneFrame], features: Features, device: torch.device) -> tuple[Tensor, Features]:
    """Return ``[2, B]`` int64 lanes and frames, and each lane's own features."""
    index = torch.tensor(list(zip(*lanes, strict=True))).to(device, non_blocking=True)
    return index[:2], features.row(lanes[0].row) if len(lanes) == 1 else features.select(index[2])


class Engine:
    """The eager engine: no preparation, any number of lanes in one batch.

    Args:
        step: Holds the model.
        autocast: Precision of the model's arithmetic; None for float32.

    Attributes:
        initial_lanes: Lanes that a bank should start with.
        needs_padding_lane: Whether one lane is reserved for padding.
        attention_candidates: Attention kernels to try on a CUDA device.
        kernels_in_order: Attention kernels by preference; empty leaves the choice to torch, as on a CPU.
        rerecordings: How often all graphs were recorded again.
    """

    initial_lanes = 1
    needs_padding_lane = False
    attention_candidates: Sequence[SDPBackend] = ANY_SHAPES

    def __init__(self, step: TrackStep, autocast: torch.dtype | None) -> None:
        self._step = step
        self._autocast = autocast
        self._device = step.model.device
        self.kernels_in_order: list[SDPBackend] = []
        self.rerecordings = 0
        if autocast is not None:
            cast_weights(step, autocast)

    @property
    def state(self) -> str:
        """State for display: ``eager``, ``compiled``, ``eager (converting 40 %)``, ``openvino``."""
        return "eager"

    @property
    def device(self) -> str:
        """Device of encoder and step, for display."""
        device = self._device
        return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Prepare everything that later calls need."""
        self.choose_kernels(bank)

    def close(self) -> None:
        """Stop background preparation begun by :meth:`warm_up`. Does nothing if it has ended."""

    def bank_grew(self, bank: MemoryBank) -> None:
        """Handle that the bank was replaced by a larger one; existing lanes are unchanged."""

    def between_frames(self) -> None:
        """Called before each batch of frames, by the tracking thread. The engine may switch backends here."""

    def frame_threads(self) -> AbstractContextManager[object]:
        """Return the context with the number of torch threads that suits torch's share of a frame."""
        return nullcontext()

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``."""
        with self.kernels(), self.precision():
            return self._step.encode(images)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it, see :meth:`TrackStep.forward`.

        Lifetime: the result belongs to the caller.
        """
        index, own = lane_inputs(lanes, features, self._device)
        with self.kernels(), self.precision():
            out: StepOutput = self._step(bank, index, own, conditioning, masked)
        return out

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the model computes."""
        return precision(self._step, self._autocast)

    def kernels(self) -> AbstractContextManager[object]:
        """Return the context in which torch uses the chosen attention kernels.

        Never use it inside compiled code: torch would not cache that code.
        """
        return preferring(self.kernels_in_order)

    def prompt_kernels(self) -> AbstractContextManager[object]:
        """Return the same for prompts, whose shapes vary: without cuDNN's kernel, which plans for each new shape."""
        return preferring([kernel for kernel in self.kernels_in_order if kernel != SDPBackend.CUDNN_ATTENTION])

    def choose_kernels(self, bank: MemoryBank) -> None:
        """Choose the attention kernels of a CUDA device by measurement. Syncs. On a CPU there is only one."""
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
        """Return a function that takes as long as the given one does in this engine."""
        return function
