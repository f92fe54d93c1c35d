"""A network compiled by OpenVINO: calls it with torch tensors, saves and loads it."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor

CPU = "CPU"
"""OpenVINO's name for the device that torch uses, too."""

_PRECISIONS = {None: "f32", torch.bfloat16: "bf16"}
_ACCELERATOR_PRECISIONS = {None: "f32", torch.bfloat16: "f16"}
"""Intel's GPUs and NPUs support float16, not bfloat16."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a compilation.

    Attributes:
        autocast: Precision of the arithmetic; None for float32.
        threads: Number of CPU threads.
        device: OpenVINO's name for the device: ``CPU``, ``GPU.0``, ``NPU``.
        fused: Whether a CPU may fuse operations into kernels that OpenVINO generates ("snippets"). In bfloat16 some of
            them are wrong, see :class:`~streamseg.tracker.openvino.rewrites.TokenAttention`.
    """

    autocast: torch.dtype | None
    threads: int
    device: str = CPU
    fused: bool = False

    def inputs(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return inputs in the types that the device takes: only a CPU takes bfloat16."""
        return tuple(given) if self.device == CPU else tuple(_widened(value) for value in given)

    def options(self) -> dict[str, object]:
        """Return OpenVINO's options."""
        if self.device != CPU:
            return {
                "INFERENCE_PRECISION_HINT": _ACCELERATOR_PRECISIONS[self.autocast],
                "PERFORMANCE_HINT": "LATENCY",
            }
        options: dict[str, object] = {
            # Always set: the default is bfloat16 if the CPU supports it.
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self.autocast],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            # A pinned thread would wait for its core, say while a capture process decodes, although another is idle.
            "ENABLE_CPU_PINNING": False,
        }
        if not self.fused:
            options["SNIPPETS_MODE"] = "DISABLE"
        return options


class Network:
    """A function of tensors of fixed shapes. On a CPU tensors are passed by address, not copied.

    Thread-safe: calls wait for each other.

    Args:
        compiled: From :func:`compile_network` or :func:`load_network`.
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._outputs = [tuple(output.shape) for output in compiled.outputs]
        self._takes_bfloat16 = [given.get_element_type() == openvino.Type.bf16 for given in compiled.inputs]
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a second call would replace the tensors of the first

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run. Lifetime: the result belongs to the caller.

        Raises:
            RuntimeError: The inputs' shapes or types differ from the compiled ones.
        """
        outputs = tuple(torch.empty(shape) for shape in self._outputs)
        taken = [
            (value if bfloat16 else _widened(value)).contiguous()
            for value, bfloat16 in zip(inputs, self._takes_bfloat16, strict=True)
        ]  # keep them alive: OpenVINO reads their memory
        with self._lock:
            for number, value in enumerate(taken):
                self._request.set_input_tensor(number, _shared(value))
            for number, output in enumerate(outputs):
                self._request.set_output_tensor(number, _shared(output))
            self._request.infer()
        return outputs


def compile_network(
    core: openvino.Core, path: Path, shapes: Sequence[Sequence[int]], target: Target
) -> openvino.CompiledModel:
    """Compile a converted function. Blocks: up to a second.

    Args:
        core: OpenVINO.
        path: File of the converted function.
        shapes: Shapes of the inputs.
        target: Target of the compilation.

    Raises:
        RuntimeError: It cannot be read or compiled.
    """
    model = core.read_model(path)
    model.reshape({number: openvino.PartialShape(list(shape)) for number, shape in enumerate(shapes)})
    return core.compile_model(model, target.device, target.options())


def save_network(compiled: openvino.CompiledModel, path: Path) -> None:
    """Write a compiled network to a file, for this version of OpenVINO on this kind of device."""
    path.write_bytes(compiled.export_model().getvalue())


def load_network(core: openvino.Core, content: bytes, target: Target) -> Network:
    """Load a file of :func:`save_network`. Takes a fifth of the time of compilation.

    Args:
        core: OpenVINO.
        content: Content of the file. It must be complete: OpenVINO does not check that.
        target: Target of the compilation.

    Raises:
        RuntimeError: It cannot be loaded.
    """
    return Network(core.import_model(io.BytesIO(content), target.device, target.options()))


def _widened(value: Tensor) -> Tensor:
    """Return bfloat16 as float32, and any other tensor unchanged."""
    return value.float() if value.dtype == torch.bfloat16 else value


def _shared(value: Tensor) -> openvino.Tensor:
    """Return OpenVINO's view of a contiguous tensor."""
    if value.dtype == torch.bfloat16:  # not supported by numpy
        return openvino.Tensor(value.view(torch.int16).numpy(), openvino.Shape(value.shape), openvino.Type.bf16)
    array: np.ndarray = value.numpy()
    return openvino.Tensor(array, shared_memory=True)
