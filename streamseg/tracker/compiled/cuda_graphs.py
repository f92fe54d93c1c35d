"""CUDA graphs: what a function does on the device is recorded once, then replayed at one go.

A graph has fixed places: inputs are copied in, outputs copied out. Whatever else the function uses, such as weights and
the memory bank, it uses where that was when the graph was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class GraphRecorder(Protocol):
    """Records what a function does on a device, to be replayed at once. The only thing that tests put in its place."""

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Return what replays the function's work, and the outputs that a replay writes.

        The function is run a few times before, so it must not matter how often.
        """
        ...


class CudaGraphRecorder:
    """CUDA graphs of one memory pool, tried and recorded on one stream beside the default one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """As :class:`GraphRecorder` says. Syncs."""
        with torch.cuda.device(self._device):  # torch records on the current device, whatever the stream's
            # Compiling, autotuning and the libraries' workspaces, which each stream has of its own, must be over before
            # anything is recorded (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(3):
                    function()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                outputs = function()
        return graph.replay, outputs


class RecordedFunction:
    """A function of tensors as a recorded graph.

    Args:
        recorder: Records it.
        function: Returns a named tuple of tensors.
        inputs: Of the kind that it will be called with; it is run on them.
    """

    def __init__(self, recorder: GraphRecorder, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        self._inputs = [value.clone() for value in inputs]
        self._replay, self._outputs = recorder.record(lambda: function(*self._inputs))

    def __call__(self, *inputs: Tensor) -> Any:
        """Return what the function would. Lifetime: the caller's."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        self._replay()
        return type(self._outputs)(*(value.clone() for value in self._outputs))
