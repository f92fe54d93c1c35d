"""The engine that compiles: encoder and tracking step at a few fixed sizes, ahead of time, on CUDA as graphs.

The functions are :meth:`TrackStep.encode` and :meth:`TrackStep.forward`, as they run eagerly. A batch of any size is
composed of *buckets*: on a CUDA device it is padded to the next bucket, where a few more lanes cost next to nothing; on
a CPU, where every lane costs its full work, it is split (7 = 4 + 2 + 1) without padding. A mask says which memory slots
are filled, so objects that join, leave, are corrected or differ in age never change a shape.

Weights stay inputs of the compiled code, so the code on disk serves any weights. On a CPU OpenVINO is faster
(:mod:`streamseg.tracker.openvino`); there this runs if ``model.compile`` is on, and in tests.

Each (size, slots, mask) is compiled as a function of its own and cached on disk
(:mod:`streamseg.tracker.compiled.code_cache`). A torch that cannot do that compiles at every start
(:mod:`streamseg.tracker.torch_private`).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.tracker import torch_private
from streamseg.tracker.compiled.buckets import CPU_BUCKETS, CUDA_BUCKETS, Buckets, parts
from streamseg.tracker.compiled.code_cache import FunctionCache, fingerprint
from streamseg.tracker.compiled.cuda_graphs import CudaGraphRecorder, GraphRecorder, RecordedFunction
from streamseg.tracker.engine import Engine, LaneFrame, Progress, joined, precision
from streamseg.tracker.sam2.attention_backend import FIXED_SHAPES
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep
from streamseg.tracker.torch_private import SavableFunction

log = logging.getLogger(__name__)

_INITIAL_LANES: Final = 32
"""Growing the bank re-records all CUDA graphs of the step, which stalls every camera: start with enough lanes."""


def choose_compile(setting: str, device: torch.device) -> bool:
    """Turn ``model.compile`` into yes or no: ``auto`` compiles on CUDA only.

    Raises:
        ModelError: ``on`` needs a C++ compiler on a CPU, and there is none.
    """
    if setting == "on" and device.type == "cpu" and not _has_cpp_compiler():
        raise ModelError(
            "model.compile is on, but torch finds no C++ compiler (g++ or clang++): install one, or set it to off"
        )
    return setting == "on" or (setting == "auto" and device.type == "cuda")


def _has_cpp_compiler() -> bool:
    names = (os.environ.get("CXX"), "g++", "clang++")
    return any(shutil.which(name) is not None for name in names if name)


class CompiledEngine(Engine):
    """Encoder and step, compiled at fixed sizes.

    A size that was not prepared is compiled when it is first used; :meth:`warm_up` prepares all of them.

    Args:
        step: Holds the model, which must not change afterwards.
        autocast: Precision of the model's arithmetic; None for float32.
        buckets: Batch sizes; None for the device's default.
        recorder: Records graphs; None for CUDA graphs on CUDA and none on a CPU.
        backend: Of ``torch.compile``.
    """

    initial_lanes = _INITIAL_LANES
    needs_padding_lane = True
    attention_candidates = FIXED_SHAPES

    def __init__(
        self,
        step: TrackStep,
        autocast: torch.dtype | None,
        *,
        buckets: Buckets | None = None,
        recorder: GraphRecorder | None = None,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        super().__init__(step, autocast)
        on_cpu = self._device.type == "cpu"
        self._buckets = buckets or (CPU_BUCKETS if on_cpu else CUDA_BUCKETS)
        self._recorder = recorder if recorder is not None or on_cpu else CudaGraphRecorder(self._device)
        self._backend = backend
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._recorded: dict[str, RecordedFunction] = {}
        self._padding: LaneFrame | None = None
        self._progress: Progress = lambda what, share: None
        self._cache = FunctionCache(None, "")

    @property
    def state(self) -> str:
        """See :attr:`Engine.state`."""
        return "compiled"

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Compile every size and variant, and on CUDA record it.

        Blocks: minutes at the first start, seconds later, since compiled code is cached on disk.

        Args:
            bank: Any number of lanes; the compiled code does not depend on it.
            padding_lane: Belongs to the engine from now on.
            progress: Called before each size, also later when all graphs are recorded again.
        """
        step = self._step
        self._progress = progress
        self.choose_kernels(bank)  # before anything is traced
        self._cache = FunctionCache.of(
            fingerprint(step, self._autocast, bank.shape, self.kernels_in_order, step.attention.attend_ranges)
        )
        self._padding = LaneFrame(padding_lane, 1, 0)
        # A lane without any memory would attend to nothing, which gives NaN.
        bank.conditioning_frame[padding_lane, 0] = 0
        streams = len(self._buckets.streams)
        total = streams + len(self._step_variants(bank))
        for done, size in enumerate(self._buckets.streams):
            progress(f"compiling the encoder for {size} streams", done / total)
            features = self.encode(self._blank(size))
        self._prepare_step(
            bank,
            features,
            lambda size, done: progress(f"compiling the step for {size} objects", (streams + done) / total),
        )

    def bank_grew(self, bank: MemoryBank) -> None:
        """Record all graphs of the step again: they hold the old bank's addresses. Compiled code takes any bank.

        This happens at once; otherwise each size would stall the first frame that needs it.
        """
        if self._recorder is None:
            return
        began = time.monotonic()
        self._recorded = {name: graph for name, graph in self._recorded.items() if name.startswith("encode_")}
        self.rerecordings += 1
        if self._padding is not None:
            total = len(self._step_variants(bank))
            self._prepare_step(
                bank,
                self.encode(self._blank(1)),
                lambda size, done: self._progress(f"recording the step for {size} objects", done / total),
            )
        log.warning(
            "the memory bank grew to %d objects: recorded all graphs again in %.2f s",
            bank.lanes,
            time.monotonic() - began,
        )

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``. Lifetime: the result belongs to the caller."""
        found, start = [], 0
        for size in parts(len(images), self._buckets.streams, pad=self._buckets.pad):
            part = images[start : start + size]
            room = size - len(part)
            # Padded with the last picture instead of zeros: any finite values will do.
            padded = torch.cat([part, part[-1:].expand(room, -1, -1, -1)]) if room else part.contiguous()
            out = self._call(f"encode_{size}", _encode, (self._step, self._autocast), None, padded)
            found.append(Features(*(level[: len(part)] for level in out)))
            start += len(part)
        return joined(found)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it. Lifetime: the result belongs to the caller."""
        outputs, start = [], 0
        for size in parts(len(lanes), self._buckets.lanes, pad=self._buckets.pad):
            part = lanes[start : start + size]
            out = self._run_step(bank, [*part, *self._pad(size - len(part))], features, conditioning, masked)
            outputs.append(StepOutput(*(value[: len(part)] for value in out)))
            start += len(part)
        return joined(outputs)

    def as_run(self, function: Callable[[], object]) -> Callable[[], object]:
        """Return a replay where graphs are used. It has its own memory pool, which is freed after the timing."""
        return function if self._recorder is None else CudaGraphRecorder(self._device).record(function)[0]

    def _blank(self, streams: int) -> Tensor:
        side = self._step.model.image_size
        return torch.zeros(streams, 3, side, side, device=self._device)

    def _pad(self, count: int) -> list[LaneFrame]:
        if count and self._padding is None:
            raise RuntimeError("there is no padding lane: call warm_up first")
        return [self._padding] * count if self._padding is not None else []

    def _prepare_step(self, bank: MemoryBank, features: Features, begins: Callable[[int, int], None]) -> None:
        """Run the step at every size and variant, on the padding lane.

        Args:
            bank: The memory.
            features: Of any frames.
            begins: Called before each with the size and the number done.
        """
        for done, (size, conditioning, masked) in enumerate(self._step_variants(bank)):
            begins(size, done)
            self._run_step(bank, self._pad(size), features, conditioning, masked)

    def _run_step(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        slots, masked = self._variant(conditioning, masked, bank.shape.conditioning_frames)
        name = f"track_{len(lanes)}_{slots}_{'masked' if masked else 'full'}"
        index, own = self._inputs(lanes, features)
        return cast(
            StepOutput, self._call(name, _track, (self._step, self._autocast, slots, masked), bank, index, *own)
        )

    def _step_variants(self, bank: MemoryBank) -> list[tuple[int, int, bool]]:
        """Return (size, conditioning slots, masked) of everything that :meth:`track` may need."""
        most = bank.shape.conditioning_frames
        kinds = sorted({self._variant(slots, masked, most) for slots in (1, most) for masked in (False, True)})
        return [(size, *kind) for size in self._buckets.lanes for kind in kinds]

    def _variant(self, conditioning: int, masked: bool, most: int) -> tuple[int, bool]:
        """Return the slots to read and whether they are masked: one slot if no object was corrected, else all.

        The mask is dropped where that pays: CUDA's fastest attention kernels take none. With a kernel for ranges, any
        empty slot is cheap, so one variant serves everything that is not full.
        """
        ranges = self._step.attention.attend_ranges is not None
        masked = masked or conditioning > 1 or (self._device.type == "cpu" and not ranges)
        return most if conditioning > 1 or (masked and ranges) else 1, masked

    def _call(
        self,
        name: str,
        function: Callable[..., Any],
        head: tuple[object, ...],
        bank: MemoryBank | None,
        *inputs: Tensor,
    ) -> Any:
        """Run the function compiled, as a recorded graph if there is a recorder.

        Args:
            name: Of the size and variant.
            function: Takes ``head``, the bank and the inputs.
            head: Arguments that are constants of the compiled code.
            bank: Memory that it reads and writes, if any.
            inputs: Tensors.
        """
        with self.kernels():
            compiled = self._compiled.get(name)
            if compiled is None:
                compiled = self._compiled[name] = self._compile(name, function, head, bank, inputs)
            if self._recorder is None:
                return compiled(*head, bank, *inputs)
            recorded = self._recorded.get(name)
            if recorded is None:
                recorded = RecordedFunction(self._recorder, lambda *values: compiled(*head, bank, *values), inputs)
                self._recorded[name] = recorded
            return recorded(*inputs)

    def _compile(
        self,
        name: str,
        function: Callable[..., Any],
        head: tuple[object, ...],
        bank: MemoryBank | None,
        inputs: tuple[Tensor, ...],
    ) -> Callable[..., Any]:
        """Compile for inputs of this kind, or load what an earlier process compiled."""
        example_bank = None if bank is None else bank.grown(bank.lanes)  # a copy: trial runs write to it
        example = (*head, example_bank, *inputs)
        at_call = partial(self._compile_at_call, name, function)
        if self._backend != "inductor" or not torch_private.HAS_SAVED_FUNCTIONS:
            _allow_any_number_of_lanes(example_bank)
            compiled = at_call()
            compiled(*example)
            return compiled
        ahead = self._cache.load(name, example)
        if ahead is None:
            _allow_any_number_of_lanes(example_bank)
            ahead = self._cache.compile(name, function, example)
        return _AheadOfTime(name, ahead, at_call)

    def _compile_at_call(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is compiled when it is called, and again for inputs of another kind."""
        return torch.compile(
            _with_own_code(function, name),
            backend=self._backend,
            fullgraph=True,
            dynamic=False,
            options=torch_private.GUARD_OPTIONS,
        )


class _AheadOfTime:
    """A function that was compiled ahead of its calls, with a fallback for other inputs.

    The compiled code would give wrong results for those. The fallback is merely slow, and counts as a recompile.
    """

    def __init__(self, name: str, function: SavableFunction, at_call: Callable[[], Callable[..., Any]]) -> None:
        self._name, self._function, self._make_at_call = name, function, at_call
        self._at_call: Callable[..., Any] | None = None  # made on demand: importing torch's compiler takes seconds

    def __call__(self, *inputs: Any) -> Any:
        if self._function.guard_check(*inputs):
            return self._function(*inputs)
        log.warning("%s: inputs differ from those at warm-up: compiling in the middle of a stream", self._name)
        if self._at_call is None:
            self._at_call = self._make_at_call()
        return self._at_call(*inputs)


def _encode(step: TrackStep, autocast: torch.dtype | None, bank: None, images: Tensor) -> Features:
    with precision(step, autocast):
        features = step.encode(images)
    # One memory layout, whatever the encoder's: otherwise rows of a batch and selected rows would be two graphs of the
    # step. `contiguous` alone would keep the unusual stride that a batch of one may have.
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
    """Mark a bank so that code compiled for it takes any number of lanes.

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
