"""CUDA graphs: records the kernels that a function launches once, and then replays them together.

A graph has fixed addresses: inputs are copied in, outputs are copied out. Weights and the memory bank are used at their
addresses from the time of recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class GraphRecorder(Protocol):
    """Records the work of a function on a device for replay. The only part that tests replace."""

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Return a function that replays the work, and the outputs that each replay overwrites.

        The function is run a few times first, so it must be repeatable.
        """
        ...


class CudaGraphRecorder:
    """CUDA graphs that share one memory pool, warmed up and recorded on a separate stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """See :class:`GraphRecorder`. Syncs."""
        with torch.cuda.device(self._device):  # torch records on the current device, regardless of the stream's
            # Compilation, autotuning and the libraries' workspaces (one per stream) must be done before recording
            # starts (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(3):
                    function()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Only this thread's calls count: another engine's preparation may allocate memory in the meantime.
            mode = "thread_local"
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode=mode):
                outputs = function()
        return graph.replay, outputs


class RecordedFunction:
    """A function of tensors as a recorded graph.

    Args:
        recorder: Records it.
        function: Returns a named tuple of tensors.
        inputs: Inputs with the shapes and types of later calls; the function is run on them.
    """

    def __init__(self, recorder: GraphRecorder, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        self._inputs = [value.clone() for value in inputs]
        self._replay, self._outputs = recorder.record(lambda: function(*self._inputs))

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the function's result. Lifetime: the result belongs to the caller."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._replay()
        return type(self._outputs)(*(value.clone() for value in self._outputs))
