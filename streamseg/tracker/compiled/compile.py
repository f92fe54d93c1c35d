"""All compilation: the encoder and the tracking step at a few fixed sizes, prepared ahead, on CUDA as graphs.

What is compiled is :meth:`TrackStep.encode` and :meth:`TrackStep.forward`, as they run eagerly. A batch of any size is
put together from *buckets*: on a CUDA device it is padded to the next bucket, where a few lanes more cost next to
nothing; on a CPU, where every lane costs its full work, it is split (7 = 4 + 2 + 1) and nothing is padded. Which memory
slots are filled is a mask, so objects that join, leave, are corrected or differ in age never change a shape.

Weights stay inputs of the compiled code, so that it can be kept on disk for whatever weights. Torch can also freeze
them into it, packed for the CPU; then nano in bfloat16 took 16 in place of 19 ms a frame (tiny the same 80 ms), and
every start 40 s.

Each (size, slots, mask) is compiled ahead of its calls, as a function of its own that is kept on disk
(:mod:`streamseg.tracker.compiled.code_cache`).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.tracker.compiled.code_cache import (
    CompiledFunction,
    KeptFunctions,
    fingerprint,
    only_tensors,
)
from streamseg.tracker.compiled.cuda_graphs import CudaGraphRecorder, GraphRecorder, RecordedFunction
from streamseg.tracker.engine import Engine, LaneFrame, Progress, precision
from streamseg.tracker.sam2.attention_backend import FIXED_SHAPES
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

log = logging.getLogger(__name__)

_LEAST_LANES: Final = 32
"""A bank that grows has all CUDA graphs of the step recorded anew, which holds up every camera: begin with enough."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Batch sizes that are prepared.

    Attributes:
        lanes: Of the step, rising.
        streams: Of the encoder, rising.
        pad: Whether a batch is padded to the next size, or split into sizes without a rest (they begin with 1).
    """

    lanes: tuple[int, ...]
    streams: tuple[int, ...]
    pad: bool


CPU_BUCKETS: Final = Buckets(lanes=(1, 2, 4), streams=(1,), pad=False)
CUDA_BUCKETS: Final = Buckets(lanes=(1, 2, 4, 8, 16), streams=(1, 2, 4, 8), pad=True)


def parts(count: int, sizes: Sequence[int], *, pad: bool) -> list[int]:
    """Sizes that together take ``count`` items, the last one with room left over if ``pad``."""
    found: list[int] = []
    while count > 0:
        roomy = next((size for size in sizes if size >= count), None) if pad else None
        size = roomy if roomy is not None else max(size for size in sizes if size <= count)
        found.append(size)
        count -= size
    return found


def choose_compile(setting: str, device: torch.device) -> bool:
    """Turn ``model.compile`` into yes or no: ``auto`` compiles on CUDA; on a CPU the first start takes minutes.

    Raises:
        ModelError: on a CPU, ``on`` needs a C++ compiler and there is none.
    """
    if setting == "on" and device.type == "cpu" and not _has_cpp_compiler():
        raise ModelError(
            "model.compile is on, and torch finds no C++ compiler (g++ or clang++): install one or set off"
        )
    return setting == "on" or (setting == "auto" and device.type == "cuda")


def _has_cpp_compiler() -> bool:
    names = (os.environ.get("CXX"), "g++", "clang++")
    return any(shutil.which(name) is not None for name in names if name)


class CompiledEngine(Engine):
    """The same functions, compiled at fixed sizes.

    A size that was not prepared is compiled when it is first asked for; after :meth:`warm_up` none is left.

    Args:
        step: Holds the model, which does not change any more.
        autocast: Precision of the model's arithmetic; None for float32.
        buckets: Sizes; None for the device's own.
        recorder: Records graphs; None for CUDA's on CUDA and none on a CPU.
        backend: Of ``torch.compile``.
    """

    least_lanes = _LEAST_LANES
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
        self._kept = KeptFunctions(None, "")

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Compile, and on CUDA record, every size and variant.

        Blocks: minutes at the first start, seconds later: compiled code is kept on disk.

        Args:
            bank: Its size does not matter for what is compiled.
            padding_lane: Belongs to the engine from now on.
            progress: Told before each size.
        """
        step = self._step
        self.choose_kernels(bank)  # before anything is traced
        self._kept = KeptFunctions.of(
            fingerprint(step, self._autocast, bank.shape, self.kernels_in_order, step.attention.attend_ranges)
        )
        self._padding = LaneFrame(padding_lane, 1, 0)
        # A lane that remembers nothing would attend to nothing, which is NaN.
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
        """Record all graphs of the step anew, which hold the old bank's addresses; compiled code takes any bank.

        At once: later, each size would hold up the first frame that needs it.
        """
        if self._recorder is None:
            return
        began = time.monotonic()
        self._recorded = {name: graph for name, graph in self._recorded.items() if name.startswith("encode_")}
        self.recorded_anew += 1
        if self._padding is not None:
            self._prepare_step(bank, self.encode(self._blank(1)), lambda size, done: None)
        log.warning(
            "room for %d objects in place of fewer: graphs were recorded anew, for %.2f s",
            bank.lanes,
            time.monotonic() - began,
        )

    def _blank(self, streams: int) -> Tensor:
        side = self._step.model.image_size
        return torch.zeros(streams, 3, side, side, device=self._device)

    def _prepare_step(self, bank: MemoryBank, features: Features, begins: Callable[[int, int], None]) -> None:
        """Run the step at every size and variant, on the padding lane.

        Args:
            bank: The memory.
            features: Of whatever frames.
            begins: Told the size, and how many are done, before each.
        """
        for done, (size, conditioning, masked) in enumerate(self._step_variants(bank)):
            begins(size, done)
            self._run_step(bank, self._pad(size), features, conditioning, masked)

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``. Lifetime: the caller's."""
        found, start = [], 0
        for size in parts(len(images), self._buckets.streams, pad=self._buckets.pad):
            part = images[start : start + size]
            room = size - len(part)
            # The last picture again, rather than zeros: whatever is there must be finite.
            padded = torch.cat([part, part[-1:].expand(room, -1, -1, -1)]) if room else part.contiguous()
            found.append((self._call(f"encode_{size}", _encode, (self._step, self._autocast), None, padded), len(part)))
            start += len(part)
        if len(found) == 1:
            return Features(*(level[: found[0][1]] for level in found[0][0]))
        return Features(
            *(torch.cat([out[level][:count] for out, count in found]) for level in range(len(Features._fields)))
        )

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it. Lifetime: the caller's."""
        outputs, start = [], 0
        for size in parts(len(lanes), self._buckets.lanes, pad=self._buckets.pad):
            part = lanes[start : start + size]
            out = self._run_step(bank, [*part, *self._pad(size - len(part))], features, conditioning, masked)
            outputs.append(StepOutput(*(value[: len(part)] for value in out)))
            start += len(part)
        return (
            outputs[0]
            if len(outputs) == 1
            else StepOutput(*(torch.cat(values) for values in zip(*outputs, strict=True)))
        )

    def _pad(self, count: int) -> list[LaneFrame]:
        if count and self._padding is None:
            raise RuntimeError("there is no lane for padding: call warm_up first")
        return [self._padding] * count if self._padding is not None else []

    def _run_step(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        slots, masked = self._variant(conditioning, masked, bank.shape.conditioning_frames)
        name = f"track_{len(lanes)}_{slots}_{'masked' if masked else 'full'}"
        index, own = self._inputs(lanes, features)
        return cast(
            StepOutput, self._call(name, _track, (self._step, self._autocast, slots, masked), bank, index, *own)
        )

    def as_run(self, function: Callable[[], object]) -> Callable[[], object]:
        """A graph where graphs are replayed, in a memory pool of its own: both are gone when it was timed."""
        return function if self._recorder is None else CudaGraphRecorder(self._device).record(function)[0]

    def _step_variants(self, bank: MemoryBank) -> list[tuple[int, int, bool]]:
        """Size, conditioning slots and whether they are masked, of all that :meth:`track` may need."""
        most = bank.shape.conditioning_frames
        kinds = sorted({self._variant(slots, masked, most) for slots in (1, most) for masked in (False, True)})
        return [(size, *kind) for size in self._buckets.lanes for kind in kinds]

    def _variant(self, conditioning: int, masked: bool, most: int) -> tuple[int, bool]:
        """Slots to read and whether they are masked: an object that was never corrected needs one, others have all.

        The mask is left out where that pays: CUDA's fastest attention kernels take none. A kernel for ranges makes it
        cheap, whatever is empty: then one variant serves all that is not full.
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
            function: Of what is in ``head``, the bank and the inputs.
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
        example_bank = None if bank is None else bank.grown(bank.lanes)  # what is tried on it is thrown away
        example = (*head, example_bank, *inputs)
        at_call = partial(self._compile_at_call, name, function)
        if self._backend != "inductor":
            _take_any_number_of_lanes(example_bank)
            compiled = at_call()
            compiled(*example)
            return compiled
        ahead = self._kept.load(name, function, example)
        if ahead is None:
            packaged = self._device.type == "cpu"
            if not packaged:
                _take_any_number_of_lanes(example_bank)
            ahead = self._kept.make(name, function, example, packaged=packaged)
        return _Ahead(name, ahead, at_call)

    def _compile_at_call(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """What is compiled when it is called, and anew for inputs of another kind."""
        return torch.compile(
            _own_code(function, name),
            backend=self._backend,
            fullgraph=True,
            dynamic=False,
            options={"guard_filter_fn": only_tensors},
        )


class _Ahead:
    """A function that was compiled ahead of its calls, and what is to run if other inputs come after all.

    By itself it would go wrong then; so it is only slow, and counted as a recompile.
    """

    def __init__(self, name: str, function: CompiledFunction, at_call: Callable[[], Callable[..., Any]]) -> None:
        self._name, self._function, self._make_at_call = name, function, at_call
        self._at_call: Callable[..., Any] | None = None  # to make it takes torch's compiler: seconds to import

    def __call__(self, *inputs: Any) -> Any:
        if self._function.guard_check(*inputs):
            return self._function(*inputs)
        log.warning("%s: inputs are not as they were at warm-up: compiling in the middle of a stream", self._name)
        if self._at_call is None:
            self._at_call = self._make_at_call()
        return self._at_call(*inputs)


def _encode(step: TrackStep, autocast: torch.dtype | None, bank: None, images: Tensor) -> Features:
    with precision(step, autocast):
        features = step.encode(images)
    # One layout, whatever the encoder's: rows of a batch and selected rows must not be two graphs of the step.
    # `contiguous` alone leaves a batch of one the odd stride that it may have.
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


def _take_any_number_of_lanes(example: MemoryBank | None) -> None:
    """Mark a bank, so that what is compiled for it takes as many lanes as there are.

    Only a copy: functions that were loaded do not take tensors that are marked.
    """
    if example is None:
        return
    for field in MemoryBank.FIELDS:
        torch._dynamo.mark_dynamic(getattr(example, field), 0)


def _own_code(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A copy of a function with a code object of its own.

    torch._dynamo keeps its graphs by code object, tries them one after another, and gives up at the eighth.
    """
    plain = cast(types.FunctionType, function)
    return types.FunctionType(plain.__code__.replace(co_name=name), plain.__globals__, name, plain.__defaults__)
