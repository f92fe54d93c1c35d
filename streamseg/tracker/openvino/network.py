"""A network that OpenVINO has compiled, as a function of torch tensors, and on disk."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor

_PRECISIONS = {None: "f32", torch.bfloat16: "bf16"}

_NOT_FUSED = "DISABLE"
"""OpenVINO 2026.4 fuses operations into kernels of its own ("snippets"). In bfloat16 those of the decoder's attention
give wrong scores: on a Zen 4 core, nano's object scores on real memory were off by 2.7 (their spread is 3.4), without
that fusion by 0.03, as torch's in bfloat16. In float32 they are exact to six digits."""


class Network:
    """A function of tensors of fixed shapes. Tensors are passed by address, not copied.

    Thread-safe: calls wait for each other.

    Args:
        compiled: From :func:`compile_network` or :func:`load_network`.
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._outputs = [tuple(output.shape) for output in compiled.outputs]
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a second call would replace the tensors of the first

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run. Lifetime: the result belongs to the caller.

        Raises:
            RuntimeError: The inputs' shapes or types differ from those that it was compiled for.
        """
        outputs = tuple(torch.empty(shape) for shape in self._outputs)
        with self._lock:
            for number, value in enumerate(inputs):
                self._request.set_input_tensor(number, _shared(value.contiguous()))
            for number, output in enumerate(outputs):
                self._request.set_output_tensor(number, _shared(output))
            self._request.infer()
        return outputs


def compile_network(
    core: openvino.Core, path: Path, shapes: Sequence[Sequence[int]], autocast: torch.dtype | None, threads: int
) -> openvino.CompiledModel:
    """Compile a converted function. Blocks: up to a second.

    Args:
        core: Compiles it.
        path: The converted function.
        shapes: Of the inputs.
        autocast: Precision of the arithmetic; None for float32.
        threads: Threads that it may use.

    Raises:
        RuntimeError: It cannot be read or compiled.
    """
    model = core.read_model(path)
    model.reshape({number: openvino.PartialShape(list(shape)) for number, shape in enumerate(shapes)})
    return core.compile_model(model, "CPU", _options(autocast, threads))


def save_network(compiled: openvino.CompiledModel, path: Path) -> None:
    """Write a compiled network to a file, for this version of OpenVINO on this kind of CPU."""
    path.write_bytes(compiled.export_model().getvalue())


def load_network(core: openvino.Core, content: bytes, autocast: torch.dtype | None, threads: int) -> Network:
    """Load what :func:`save_network` wrote. Takes a fifth of the time of compiling it.

    Args:
        core: Loads it.
        content: Of the file. It must be complete: OpenVINO does not check that.
        autocast: Precision of the arithmetic; None for float32.
        threads: Threads that it may use.

    Raises:
        RuntimeError: It cannot be loaded.
    """
    return Network(core.import_model(io.BytesIO(content), "CPU", _options(autocast, threads)))


def _options(autocast: torch.dtype | None, threads: int) -> dict[str, object]:
    options: dict[str, object] = {
        # Named in any case: the default is bfloat16 where the CPU has it.
        "INFERENCE_PRECISION_HINT": _PRECISIONS[autocast],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # A pinned thread waits for its core although another is idle, as where a capture process decodes.
        "ENABLE_CPU_PINNING": False,
    }
    if autocast is not None:
        options["SNIPPETS_MODE"] = _NOT_FUSED
    return options


def _shared(value: Tensor) -> openvino.Tensor:
    """Return OpenVINO's view of a contiguous tensor."""
    if value.dtype == torch.bfloat16:  # which numpy lacks
        return openvino.Tensor(value.view(torch.int16).numpy(), openvino.Shape(value.shape), openvino.Type.bf16)
    array: np.ndarray = value.numpy()
    return openvino.Tensor(array, shared_memory=True)
