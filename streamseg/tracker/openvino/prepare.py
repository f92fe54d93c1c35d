"""Converts and compiles a model's encoder and step, and measures for each size whether OpenVINO or torch is faster.

The engine runs this in a separate process (:mod:`streamseg.tracker.background`) and only loads the results.
"""

from __future__ import annotations

import copy
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from streamseg.tracker.engine import Engine, Progress
from streamseg.tracker.openvino.functions import (
    EncoderFunction,
    StepFunction,
    blank_inputs,
    convert,
    step_inputs,
)
from streamseg.tracker.openvino.network import CPU, Network, Target, compile_network, save_network
from streamseg.tracker.openvino.rewrites import rewritten
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.step import Features, TrackStep

if TYPE_CHECKING:
    import openvino

REPORT: Final = "report.json"

LANES: Final = (1, 2, 3, 4)
"""Numbers of objects for which the step is compiled; more objects are tracked in parts."""

_ROUNDS: Final = 4
_LARGEST_ERROR: Final = {None: 1e-2, torch.bfloat16: 0.1}
"""Maximum error of a network's outputs against eager float32, in standard deviations (root mean square).

It only has to detect networks that do not work. Measured: 1e-6 and 0.02; 0.3 with wrong kernels.
"""

_AS_EXACT: Final = 2.0, 0.01
"""Fused kernels are used if their error is at most this factor times the error of single operations, plus this: scores
in bfloat16 are 1/64 apart, and one rounded the other way is not wrong. Measured for nano with four lanes in 24 draws:
0.003 to 0.013, single operations 0.001 to 0.013; 0.026 to 1.2 with wrong kernels."""


class Timing(msgspec.Struct, frozen=True):
    """Measurements of one size.

    Attributes:
        openvino_ms: Milliseconds per call with OpenVINO.
        torch_ms: Milliseconds per call with eager torch.
        error: Error of OpenVINO's outputs against eager float32 in standard deviations, root mean square.
    """

    openvino_ms: float
    torch_ms: float
    error: float

    @property
    def openvino_is_faster(self) -> bool:
        """Whether OpenVINO is used for this size."""
        return self.openvino_ms <= self.torch_ms


class Size(NamedTuple):
    """The size of a compiled network.

    Attributes:
        lanes: Lanes of the step; 0: the encoder, for one frame.
        slots: Slots of conditioning frames that the step reads; 0: the encoder.
    """

    lanes: int
    slots: int

    @property
    def name(self) -> str:
        """Name of its measurement: the step is measured only with one slot."""
        return f"track_{self.lanes}" if self.lanes else "encode_1"

    @property
    def file(self) -> str:
        """File name of the compiled network."""
        return f"track_{self.lanes}_{self.slots}.blob" if self.lanes else "encode_1.blob"


ENCODER: Final = Size(0, 0)


def step_sizes(shape: BankShape) -> list[Size]:
    """Return the compiled sizes of the step: with one slot, for objects without corrections, and with all."""
    return [Size(lanes, slots) for slots in (1, shape.conditioning_frames) for lanes in LANES]


class Report(msgspec.Struct, frozen=True):
    """Results of :func:`prepare`.

    Attributes:
        timings: Name of a size, such as ``encode_1`` or ``track_4`` -> its measurements.
        digests: File -> digest of its content.
        fused: Whether the step's operations are fused.
    """

    timings: dict[str, Timing]
    digests: dict[str, str]
    fused: bool

    def target(self, size: Size, given: Target) -> Target:
        """Return the target of a size."""
        return _target(size, given, self.fused)


@dataclass(frozen=True, slots=True)
class Job:
    """A conversion job.

    Attributes:
        step: Has the model, whose weights may have been cast.
        shape: Shape of the memory bank.
        target: Target of the compilation. Torch uses as many threads.
    """

    step: TrackStep
    shape: BankShape
    target: Target


@torch.inference_mode(False)  # torch cannot trace inference tensors
def prepare(job: Job, folder: Path, progress: Progress) -> None:
    """Convert and compile encoder and step, compare them with torch, and write everything. Blocks: tens of seconds.

    Args:
        job: The job.
        folder: An existing folder to write to.
        progress: Called before each part.

    Raises:
        Exception: They cannot be converted or compiled, or give different results; OpenVINO raises many kinds.
    """
    import openvino

    torch.set_num_threads(job.target.threads)
    core = openvino.Core()
    exact = _in_float32(job.step)
    converted = rewritten(exact)
    sizes = step_sizes(job.shape)
    parts = iter(range(total := 3 + len(sizes)))

    def begin(what: str) -> None:
        progress(what, next(parts) / total)

    begin("converting the encoder")
    images = torch.randn(1, 3, exact.model.image_size, exact.model.image_size)
    encoder, step = folder / "encoder.xml", folder / "step.xml"
    openvino.save_model(convert(EncoderFunction(converted), (images,)), encoder, compress_to_fp16=False)
    begin("converting the step")
    with torch.no_grad():
        features = exact.encode(images)
    inputs = _example(exact, features, job.shape, 1)
    openvino.save_model(convert(StepFunction(converted), job.target.inputs(inputs)), step, compress_to_fp16=False)
    del converted

    cast = copy.deepcopy(exact)
    eager = Engine(cast, job.target.autocast)  # casts the weights

    # With the most lanes: the more scores, the less the rounding of one of them matters.
    fused = _fuses_well(core, step, job.target, exact, _example(exact, features, job.shape, LANES[-1]))

    def compiled(path: Path, size: Size, inputs: tuple[Tensor, ...]) -> Network:
        shapes = [value.shape for value in inputs]
        network = compile_network(core, path, shapes, _target(size, job.target, fused))
        save_network(network, folder / size.file)
        return Network(network)

    timings = {}
    begin("compiling the encoder")
    network = compiled(encoder, ENCODER, (images,))
    timings[ENCODER.name] = _measure(job.target.autocast, network, EncoderFunction, exact, (cast, eager), (images,))
    for size in sizes:
        begin(f"compiling the step for {size.lanes} objects")
        if size.name in timings:  # with more slots
            with torch.no_grad():
                compiled(step, size, blank_inputs(exact, features, job.shape, *size))
            continue
        inputs = _example(exact, features, job.shape, size.lanes)
        network = compiled(step, size, inputs)
        timings[size.name] = _measure(job.target.autocast, network, StepFunction, exact, (cast, eager), inputs)
    for path in (encoder, step):
        path.unlink()
        path.with_suffix(".bin").unlink()
    digests = {size.file: digest((folder / size.file).read_bytes()) for size in (ENCODER, *sizes)}
    (folder / REPORT).write_bytes(msgspec.json.encode(Report(timings, digests, fused)))


def _target(size: Size, given: Target, fused: bool) -> Target:
    """Return the target of a size. In bfloat16 an encoder is never fused: Hiera's is wrong, nano's no faster."""
    return replace(given, fused=fused and (size != ENCODER or given.autocast is None))


def _fuses_well(core: openvino.Core, path: Path, target: Target, exact: TrackStep, inputs: tuple[Tensor, ...]) -> bool:
    """Return whether a step is as exact with fused operations: in float32 it is, in bfloat16 this is measured.

    Only for a CPU: other devices have their own kernels.
    """
    if target.device != CPU or target.autocast is None:
        return target.device == CPU
    shapes = [value.shape for value in inputs]

    def error(fused: bool) -> float:
        network = Network(compile_network(core, path, shapes, replace(target, fused=fused)))
        return _step_error(network(*inputs), wanted)

    with torch.inference_mode():
        wanted = StepFunction(exact)(*inputs)
        try:
            with_fused = error(True)
        except Exception:  # noqa: BLE001 - OpenVINO raises many kinds
            return False
        factor, added = _AS_EXACT
        return with_fused <= factor * error(False) + added


def digest(content: bytes) -> str:
    """Return a digest that distinguishes a complete file from a truncated one."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_report(folder: Path) -> Report:
    """Return the report in a folder.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{folder / REPORT}: {error}") from error


def _in_float32(step: TrackStep) -> TrackStep:
    """Return a copy in float32. Saving and loading turns inference tensors into ordinary ones."""
    buffer = io.BytesIO()
    torch.save(step, buffer)
    buffer.seek(0)
    loaded: TrackStep = torch.load(buffer, weights_only=False)
    return loaded.float()


@torch.no_grad()
def _example(step: TrackStep, features: Features, shape: BankShape, lanes: int) -> tuple[Tensor, ...]:
    """Return inputs of the step for different lanes, with random memory in all slots but one.

    There are no last masks of touching objects. They only choose between candidates, of which random memory gives
    nearly empty ones with IoU near 0: a wrong choice would not show, and a choice on the edge would fail right kernels.
    """
    bank = MemoryBank(shape, lanes, torch.device("cpu"))
    index = torch.stack([torch.arange(lanes), torch.full((lanes,), shape.pointer_frames)])
    for frame in range(shape.pointer_frames):
        memory = torch.randn(lanes, shape.tokens, shape.memory_dim)
        bank.write_tracked(index[0], torch.full((lanes,), frame), memory, torch.randn(lanes, shape.pointer_dim))
    bank.conditioning_frame[:, 0] = 0
    rows = Features(*(level.expand(lanes, *level.shape[1:]).contiguous() for level in features))
    return step_inputs(step.read(bank, index, 1, True, rows.colors), rows)


def _measure(
    autocast: torch.dtype | None,
    network: Network,
    function: Callable[[TrackStep], nn.Module],
    exact: TrackStep,
    eager: tuple[TrackStep, Engine],
    inputs: tuple[Tensor, ...],
) -> Timing:
    """Compare a network with torch at one size.

    Raises:
        ValueError: Its results differ.
    """
    in_torch, engine = function(eager[0]), eager[1]

    def run_openvino() -> object:
        return network(*inputs)

    def run_torch() -> object:
        with engine.precision():
            return in_torch(*inputs)

    with torch.inference_mode():
        wanted = function(exact)(*inputs)
        given = network(*inputs)
        error = (_step_error if function is StepFunction else _largest_error)(given, wanted)
        if not error < _LARGEST_ERROR[autocast] or not all(value.isfinite().all() for value in given):
            raise ValueError(
                f"{function.__name__}: OpenVINO's results differ from torch's: {error:.3g} standard deviations"
            )
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(1 + _ROUNDS):
            for found, run in zip(times, (run_openvino, run_torch), strict=True):
                began = time.perf_counter()
                run()
                found.append(1000 * (time.perf_counter() - began))
    # Take the fastest run of each: other processes may be using the CPU.
    openvino_ms, torch_ms = (round(min(found[1:]), 3) for found in times)
    return Timing(openvino_ms, torch_ms, round(error, 6))


def _step_error(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return the error of IoU and score. The other outputs jump if two candidates are equally good."""
    return _largest_error(given[1:3], wanted[1:3])


def _largest_error(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    return max(_error(*pair) for pair in zip(given, wanted, strict=True))


def _error(given: Tensor, wanted: Tensor) -> float:
    spread = max(float(wanted.std()) if wanted.numel() > 1 else 0.0, 1.0)
    return float((given - wanted).square().mean().sqrt()) / spread
