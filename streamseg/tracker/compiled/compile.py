"""The compiling engine: encoder and tracking step at a few fixed sizes, compiled ahead of time, on CUDA as graphs.

A batch of any size is composed of *buckets*: on a CUDA device it is padded to the next bucket, since a few more lanes
cost next to nothing; on a CPU, where every lane costs its full work, it is split (7 = 4 + 2 + 1) without padding. A
mask tells which memory slots are filled, so objects that join, leave, are corrected or differ in age never change a
shape.

The compiled functions are in :mod:`streamseg.tracker.compiled.functions`. Either :meth:`CompiledEngine.warm_up` waits
for them, or frames are tracked eagerly meanwhile and the compiled functions take over between two frames. On a CPU,
OpenVINO is faster (:mod:`streamseg.tracker.openvino`); there this runs only if ``model.compile`` is on, and in tests.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, cast

import torch
from torch import Tensor

from streamseg.errors import ModelError
from streamseg.tracker.background import BackgroundProcess
from streamseg.tracker.compiled.buckets import CPU_BUCKETS, CUDA_BUCKETS, Buckets, parts
from streamseg.tracker.compiled.cuda_graphs import CudaGraphRecorder, GraphRecorder, RecordedFunction
from streamseg.tracker.compiled.functions import CompiledFunctions, Example, Job, SizedFunction, compile_all, encode
from streamseg.tracker.engine import Engine, LaneFrame, Progress, joined, lane_inputs
from streamseg.tracker.preparation import Preparation, Process
from streamseg.tracker.sam2.attention_backend import FIXED_SHAPES
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

log = logging.getLogger(__name__)

_INITIAL_LANES: Final = 32
"""Growing the bank re-records all CUDA graphs of the step, which stalls every camera, so start with enough lanes."""


def choose_compile(setting: str, device: torch.device) -> bool:
    """Return whether to compile, by ``model.compile``: ``auto`` compiles only on CUDA.

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

    Args:
        step: Holds the model, which must not change afterwards.
        autocast: Precision of the model's arithmetic; None for float32.
        wait: Whether :meth:`warm_up` waits until all sizes are compiled. It always does if functions cannot be cached.
        buckets: Batch sizes; None for the device's default.
        recorder: Records graphs; None for CUDA graphs on CUDA and none on a CPU.
        backend: Backend of ``torch.compile``.
        process: Compiles if :meth:`warm_up` does not wait; None for a separate process at low priority.

    Attributes:
        preparation: Compiles and loads, unless :meth:`warm_up` waits.
    """

    initial_lanes = _INITIAL_LANES
    needs_padding_lane = True
    attention_candidates = FIXED_SHAPES

    def __init__(
        self,
        step: TrackStep,
        autocast: torch.dtype | None,
        *,
        wait: bool = True,
        buckets: Buckets | None = None,
        recorder: GraphRecorder | None = None,
        backend: str | Callable[..., Any] = "inductor",
        process: Process | None = None,
    ) -> None:
        super().__init__(step, autocast)
        on_cpu = self._device.type == "cpu"
        self._buckets = buckets or (CPU_BUCKETS if on_cpu else CUDA_BUCKETS)
        self._recorder = recorder if recorder is not None or on_cpu else CudaGraphRecorder(self._device)
        self._functions = CompiledFunctions(step, autocast, self._buckets, backend)
        self._recorded: dict[str, RecordedFunction] = {}
        self._padding: LaneFrame | None = None
        self._bank: MemoryBank | None = None
        self._progress: Progress = lambda what, share: None
        self._wait = wait or not self._functions.can_be_cached
        self._swapped = self._wait  # until then everything runs eagerly
        self._loaded = False  # set by the preparation's thread: only recording is left
        self._left: Iterator[float] | None = None  # records one size per step, and yields the seconds it took
        self._stalls: list[float] = []
        self.preparation = Preparation("compilation", "compiling", process or BackgroundProcess("idle"))

    @property
    def state(self) -> str:
        """See :attr:`Engine.state`."""
        return "compiled" if self._swapped else self.preparation.state

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Compile every size and variant, and on CUDA record it, or let a process compile them.

        Blocks: if the engine waits, minutes at the first start, seconds later, since compiled code is cached on disk.

        Args:
            bank: Any number of lanes; the compiled code does not depend on it.
            padding_lane: The engine takes ownership.
            progress: Called before each size, and later when graphs are recorded.
        """
        self._progress = progress
        self.choose_kernels(bank)  # before anything is traced
        self._functions.open_cache(bank.shape, self.kernels_in_order)
        self._padding = LaneFrame(padding_lane, 1, 0)
        # A lane without memory would attend to nothing, which gives NaN.
        bank.conditioning_frame[padding_lane, 0] = 0
        self._bank = bank
        if self._wait:
            self._prepare(bank, "compiling")
        else:
            self.preparation.start(lambda: self._load(bank.shape))

    def close(self) -> None:
        """See :meth:`Engine.close`. Blocks: for a part that is being loaded, a tenth of a second."""
        self.preparation.stop()

    def bank_grew(self, bank: MemoryBank) -> None:
        """Record all graphs of the step again: they hold the old bank's addresses. Compiled code takes any bank.

        This happens at once; otherwise each size would stall the first frame that needs it.
        """
        self._bank = bank
        if self._recorder is None:
            return
        began = time.monotonic()
        self._recorded = {name: graph for name, graph in self._recorded.items() if name.startswith("encode_")}
        self._left = None
        if not self._swapped:
            return
        self.rerecordings += 1
        if self._padding is not None:
            self._prepare(bank, "recording")
        log.warning(
            "the memory bank grew to %d objects: recorded all graphs again in %.2f s",
            bank.lanes,
            time.monotonic() - began,
        )

    def between_frames(self) -> None:
        """Let compiled code take over once it is loaded. On CUDA one graph is recorded in each call before that."""
        if self._swapped or not self._loaded:
            return
        try:
            if self._recorder is not None and self._record_next(self._recorder):
                return
        except Exception as error:  # noqa: BLE001 - CUDA raises many kinds, including for lack of memory
            self._loaded, self._recorded, self._left = False, {}, None
            self.preparation.fail(error)
            return
        self._swapped = True
        log.info("compiled code runs the model from now on")

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``. Lifetime: the result belongs to the caller."""
        if not self._swapped:
            with self.kernels():
                return encode(self._step, self._autocast, None, images)
        found, start = [], 0
        for size in parts(len(images), self._buckets.streams, pad=self._buckets.pad):
            part = images[start : start + size]
            room = size - len(part)
            # Padded with the last picture, not with zeros; any finite values will do.
            padded = torch.cat([part, part[-1:].expand(room, -1, -1, -1)]) if room else part.contiguous()
            out = self._call(self._functions.encoder(size), None, padded)
            found.append(Features(*(level[: len(part)] for level in out)))
            start += len(part)
        return joined(found)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it. Lifetime: the result belongs to the caller."""
        if not self._swapped:
            return super().track(bank, lanes, features, conditioning, masked)
        outputs, start = [], 0
        for size in parts(len(lanes), self._buckets.lanes, pad=self._buckets.pad):
            part = lanes[start : start + size]
            sized = self._functions.step(size, conditioning, masked, bank.shape)
            index, own = lane_inputs([*part, *self._pad(size - len(part))], features, self._device)
            out = cast(StepOutput, self._call(sized, bank, index, *own))
            outputs.append(StepOutput(*(value[: len(part)] for value in out)))
            start += len(part)
        return joined(outputs)

    def kernels(self) -> AbstractContextManager[object]:
        """See :meth:`Engine.kernels`. Eager calls have any shape."""
        return super().kernels() if self._swapped else self.prompt_kernels()

    def as_run(self, function: Callable[[], object]) -> Callable[[], object]:
        """Return a replay if graphs are used. It has its own memory pool, which is freed after the timing."""
        return function if self._recorder is None else CudaGraphRecorder(self._device).record(function)[0]

    def _pad(self, count: int) -> list[LaneFrame]:
        if count and self._padding is None:
            raise RuntimeError("there is no padding lane: call warm_up first")
        return [self._padding] * count if self._padding is not None else []

    def _examples(self, bank: MemoryBank) -> list[Example]:
        with super().kernels():
            return self._functions.examples(bank, self._pad(1)[0])

    def _prepare(self, bank: MemoryBank, doing: str) -> None:
        """Run every size and variant, on the padding lane."""
        examples = self._examples(bank)
        for done, (sized, own_bank, inputs, what) in enumerate(examples):
            self._progress(f"{doing} {what}", done / len(examples))
            self._call(sized, own_bank, *inputs)

    def _load(self, shape: BankShape) -> None:
        """Load all functions, after a process has compiled the missing ones. Runs in a thread."""
        functions, preparation = self._functions, self.preparation
        with torch.inference_mode():
            if not functions.load_all(shape, preparation.check):
                with functions.cache.compiling() as (folder, functions.cache):
                    job = Job(
                        self._step,
                        self._autocast,
                        self._buckets,
                        shape,
                        self.kernels_in_order,
                        functions.cache,
                        torch.get_num_threads(),
                    )
                    preparation.run_process(compile_all, job, folder, lambda what, share: None)
                    if not functions.load_all(shape, preparation.check):
                        raise RuntimeError("what was compiled cannot be loaded")
        self._loaded = True

    def _record_next(self, recorder: GraphRecorder) -> bool:
        """Record one graph. Return whether one was left."""
        if self._left is None:
            assert self._bank is not None
            self._left = self._record_each(self._bank)
        stall = next(self._left, None)
        if stall is not None:
            self._stalls.append(stall)
            return True
        log.info(
            "recorded %d CUDA graphs between frames, in %.2f s at most and %.2f s in all",
            len(self._stalls),
            max(self._stalls),
            sum(self._stalls),
        )
        return False

    def _record_each(self, bank: MemoryBank) -> Iterator[float]:
        examples = self._examples(bank)
        for done, (sized, own_bank, inputs, what) in enumerate(examples):
            if sized.name in self._recorded:
                continue
            self._progress(f"recording {what}", done / len(examples))
            began = time.monotonic()
            self._call(sized, own_bank, *inputs)
            yield time.monotonic() - began

    def _call(self, sized: SizedFunction, bank: MemoryBank | None, *inputs: Tensor) -> Any:
        """Run a function compiled, as a recorded graph if there is a recorder."""
        with super().kernels():
            compiled = self._functions.compiled(sized, bank, inputs)
            if self._recorder is None:
                return compiled(*sized.constants, bank, *inputs)
            recorded = self._recorded.get(sized.name)
            if recorded is None:
                recorded = RecordedFunction(
                    self._recorder, lambda *values: compiled(*sized.constants, bank, *values), inputs
                )
                self._recorded[sized.name] = recorded
            return recorded(*inputs)
