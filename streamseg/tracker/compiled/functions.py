"""The functions that are compiled: encoder and tracking step, each at a few fixed sizes.

They are :meth:`TrackStep.encode` and :meth:`TrackStep.forward`, which also run eagerly. Weights are inputs of the
compiled code, so the code on disk works for any weights. Each (size, slots, mask) is compiled as a separate function
and cached on disk (:mod:`streamseg.tracker.compiled.code_cache`), in the tracking process or, by :func:`compile_all`,
in another. A torch that cannot cache functions compiles at every start (:mod:`streamseg.tracker.torch_private`).
"""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from streamseg.tracker import torch_private
from streamseg.tracker.compiled.buckets import Buckets
from streamseg.tracker.compiled.code_cache import FunctionCache, fingerprint
from streamseg.tracker.engine import LaneFrame, Progress, lane_inputs, precision, preferring
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep
from streamseg.tracker.torch_private import SavableFunction

log = logging.getLogger(__name__)

EXAMPLE_LANES: Final = 2
"""Lanes of the bank used for compilation; the code takes any number. A single lane would become a constant."""


class SizedFunction(NamedTuple):
    """Encoder or step at one size.

    Attributes:
        name: Name in the cache and in messages.
        function: Takes the constants, a bank or None, and tensors.
        constants: Its first arguments.
    """

    name: str
    function: Callable[..., Any]
    constants: tuple[object, ...]


class Example(NamedTuple):
    """A sized function with example inputs that belong to no object.

    Attributes:
        sized: The function.
        bank: Memory that it reads and writes, if any.
        inputs: The tensors.
        what: Description for display.
    """

    sized: SizedFunction
    bank: MemoryBank | None
    inputs: tuple[Tensor, ...]
    what: str


class CompiledFunctions:
    """Encoder and step at all sizes, compiled on request or loaded from the cache.

    Args:
        step: Holds the model, which must not change afterwards.
        autocast: Precision of the model's arithmetic; None for float32.
        buckets: Batch sizes.
        backend: Backend of ``torch.compile``.

    Attributes:
        cache: Cache on disk; caches nothing until it is set.
        can_be_cached: Whether another process can compile them.
    """

    def __init__(
        self,
        step: TrackStep,
        autocast: torch.dtype | None,
        buckets: Buckets,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        self._step, self._autocast, self._buckets, self._backend = step, autocast, buckets, backend
        self._compiled: dict[str, Callable[..., Any]] = {}
        self.cache = FunctionCache(None, "")
        self.can_be_cached = backend == "inductor" and torch_private.HAS_SAVED_FUNCTIONS

    def open_cache(self, shape: BankShape, kernels: list[SDPBackend]) -> None:
        """Use this user's cache of functions with the same fingerprint.

        Args:
            shape: Shape of the bank.
            kernels: Attention kernels by preference.
        """
        ranges = self._step.attention.attend_ranges
        self.cache = FunctionCache.of(fingerprint(self._step, self._autocast, shape, kernels, ranges))

    def encoder(self, streams: int) -> SizedFunction:
        """Return the encoder for a number of frames."""
        return SizedFunction(f"encode_{streams}", encode, (self._step, self._autocast))

    def step(self, lanes: int, conditioning: int, masked: bool, shape: BankShape) -> SizedFunction:
        """Return the step for a number of lanes.

        Args:
            lanes: Lanes of the batch.
            conditioning: Number of conditioning slots needed.
            masked: Whether slots may be empty.
            shape: Shape of the bank.
        """
        slots, masked = self._variant(conditioning, masked, shape.conditioning_frames)
        name = f"track_{lanes}_{slots}_{'masked' if masked else 'full'}"
        return SizedFunction(name, _track, (self._step, self._autocast, slots, masked))

    def examples(self, bank: MemoryBank, padding: LaneFrame) -> list[Example]:
        """Return examples of all sizes that may be needed, encoder first.

        Args:
            bank: The memory.
            padding: A lane that belongs to no object, with one conditioning frame.
        """
        side, device = self._step.model.image_size, self._step.model.device
        found = []
        for streams in self._buckets.streams:
            blank = torch.zeros(streams, 3, side, side, device=device)
            found.append(Example(self.encoder(streams), None, (blank,), f"the encoder for {streams} streams"))
        features = encode(self._step, self._autocast, None, found[0].inputs[0][:1])
        for lanes, sized in self._steps(bank.shape):
            index, own = lane_inputs([padding] * lanes, features, device)
            found.append(Example(sized, bank, (index, *own), f"the step for {lanes} objects"))
        return found

    def compiled(self, sized: SizedFunction, bank: MemoryBank | None, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        """Return a function compiled for inputs of this kind. Blocks: the first time, for up to tens of seconds."""
        found = self._compiled.get(sized.name)
        if found is None:
            found = self._compiled[sized.name] = self._load_or_compile(sized, bank, inputs)
        return found

    def load_all(self, shape: BankShape, check: Callable[[], None]) -> bool:
        """Load all sizes from the cache. Blocks: seconds; may be called in any thread, in inference mode.

        Args:
            shape: Shape of the bank.
            check: Called before each size.

        Returns:
            Whether all are cached and work. Otherwise none is used.
        """
        found: dict[str, Callable[..., Any]] = {}
        if not all(self.cache.has(sized.name) for sized in self._sizes(shape)):
            return False
        for sized, bank, inputs, _ in self.examples(*example_bank(self._step, shape)):
            check()
            ahead = self.cache.load(sized.name, (*sized.constants, bank, *inputs))
            if ahead is None:
                return False
            found[sized.name] = _AheadOfTime(sized, ahead)
        self._compiled = found
        return True

    def _sizes(self, shape: BankShape) -> list[SizedFunction]:
        return [*map(self.encoder, self._buckets.streams), *(sized for _, sized in self._steps(shape))]

    def _steps(self, shape: BankShape) -> Iterator[tuple[int, SizedFunction]]:
        """Yield lanes and function of all possible steps."""
        most = shape.conditioning_frames
        kinds = sorted({self._variant(slots, masked, most) for slots in (1, most) for masked in (False, True)})
        for lanes in self._buckets.lanes:
            for kind in kinds:
                yield lanes, self.step(lanes, *kind, shape)

    def _variant(self, conditioning: int, masked: bool, most: int) -> tuple[int, bool]:
        """Return the slots to read and whether they are masked: one slot if no object was corrected, else all.

        The mask is dropped where that is faster: CUDA's fastest attention kernels take none. With a kernel for ranges,
        empty slots are cheap, so one variant serves all memory that is not full.
        """
        ranges = self._step.attention.attend_ranges is not None
        masked = masked or conditioning > 1 or (self._step.model.device.type == "cpu" and not ranges)
        return most if conditioning > 1 or (masked and ranges) else 1, masked

    def _load_or_compile(
        self, sized: SizedFunction, bank: MemoryBank | None, inputs: tuple[Tensor, ...]
    ) -> Callable[..., Any]:
        own_bank = None if bank is None else bank.grown(bank.lanes)  # a copy: trial runs write to it
        example = (*sized.constants, own_bank, *inputs)
        if not self.can_be_cached:
            _allow_any_number_of_lanes(own_bank)
            compiled = torch.compile(
                _with_own_code(sized.function, sized.name),
                backend=self._backend,
                fullgraph=True,
                dynamic=False,
                options=torch_private.GUARD_OPTIONS,
            )
            compiled(*example)
            return compiled
        ahead = self.cache.load(sized.name, example)
        if ahead is None:
            _allow_any_number_of_lanes(own_bank)
            ahead = self.cache.compile(sized.name, sized.function, example)
        return _AheadOfTime(sized, ahead)


def example_bank(step: TrackStep, shape: BankShape) -> tuple[MemoryBank, LaneFrame]:
    """Return a small bank, and a lane of it with one conditioning frame, since attention to no memory gives NaN."""
    bank = MemoryBank(shape, EXAMPLE_LANES, step.model.device)
    bank.conditioning_frame[0, 0] = 0
    return bank, LaneFrame(0, 1, 0)


@dataclass(frozen=True, slots=True)
class Job:
    """A compilation job.

    Attributes:
        step: Has the model, with weights as cast by the engine.
        autocast: Precision of the arithmetic; None for float32.
        buckets: Batch sizes.
        shape: Shape of the memory bank.
        kernels: Attention kernels by preference.
        cache: Cache to write to.
        threads: Number of torch threads.
    """

    step: TrackStep
    autocast: torch.dtype | None
    buckets: Buckets
    shape: BankShape
    kernels: list[SDPBackend]
    cache: FunctionCache
    threads: int


def compile_all(job: Job, folder: Path, progress: Progress) -> None:
    """Compile all sizes that are not in the cache. Blocks: minutes. A task for a separate process.

    Args:
        job: The job.
        folder: Not used.
        progress: Called before each part.

    Raises:
        Exception: Something cannot be compiled; torch raises many kinds.
    """
    torch.set_num_threads(job.threads)
    with torch.inference_mode(), preferring(job.kernels):
        functions = CompiledFunctions(job.step, job.autocast, job.buckets)
        functions.cache = job.cache
        examples = functions.examples(*example_bank(job.step, job.shape))
        for done, (sized, bank, inputs, what) in enumerate(examples):
            progress(f"compiling {what}", done / len(examples))
            functions.compiled(sized, bank, inputs)


class _AheadOfTime:
    """A function that was compiled ahead of its calls.

    Inputs of other kinds are computed eagerly, because the compiled code would give wrong results for them.
    """

    def __init__(self, sized: SizedFunction, function: SavableFunction) -> None:
        self._sized, self._function = sized, function
        self._warned = False

    def __call__(self, *inputs: Any) -> Any:
        if self._function.guard_check(*inputs):
            return self._function(*inputs)
        if not self._warned:
            self._warned = True
            log.warning("%s: inputs differ from those at warm-up, and are computed eagerly", self._sized.name)
        return self._sized.function(*inputs)


def encode(step: TrackStep, autocast: torch.dtype | None, bank: None, images: Tensor) -> Features:
    """Encode frames ``[S, 3, image_size, image_size]``."""
    with precision(step, autocast):
        features = step.encode(images)
    # One memory layout for all encoders: otherwise rows of a batch and selected rows would need two graphs of the step.
    # `contiguous` alone would keep the unusual stride that a batch of one may have.
    return Features(*(level.reshape(-1).view(level.shape) for level in features))


def _track(
    step: TrackStep,
    autocast: torch.dtype | None,
    slots: int,
    masked: bool,
    bank: MemoryBank,
    index: Tensor,
    *levels: Tensor,
) -> StepOutput:
    with precision(step, autocast):
        out: StepOutput = step(bank, index, Features(*levels), slots, masked)
    return out


def _allow_any_number_of_lanes(example: MemoryBank | None) -> None:
    """Mark a bank so that code compiled for it accepts any number of lanes.

    Only ever mark a copy: loaded functions refuse marked tensors.
    """
    if example is None:
        return
    for field in MemoryBank.FIELDS:
        torch_private.mark_dynamic(getattr(example, field), 0)


def _with_own_code(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a copy of a function with its own code object.

    torch._dynamo keeps its graphs by code object, tries them in turn, and gives up after eight.
    """
    plain = cast(types.FunctionType, function)
    return types.FunctionType(plain.__code__.replace(co_name=name), plain.__globals__, name, plain.__defaults__)
