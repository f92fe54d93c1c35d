"""What is done after an exception of the tracker."""

from __future__ import annotations

import pytest
import torch

from streamseg.tracker.faults import classify


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "retry"),
        (MemoryError(), "retry"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), "retry"),
        (RuntimeError("CUDA error: out of memory"), "retry"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "retry"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "restart"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), "restart"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "restart"),
        (RuntimeError("CUDA driver error: unknown error"), "restart"),
        (torch.AcceleratorError("unspecified launch failure", 719), "restart"),
        (ValueError("shapes do not fit"), "isolate"),
    ],
)
def test_each_error_has_its_remedy(error: Exception, remedy: str) -> None:
    assert classify(error).remedy == remedy
    assert str(error) in classify(error).text


def test_an_error_that_a_library_has_wrapped() -> None:
    wrapped = ValueError("the graph failed")
    wrapped.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
    assert classify(wrapped).remedy == "restart"
    assert "the graph failed" in classify(wrapped).text


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise KeyError("the message")


def test_a_message_becomes_text_that_can_be_sent() -> None:
    error = OSError("no file model\udcff.pt")  # as Python reads a name that is not UTF-8
    assert classify(error).text == r"OSError: no file model\xff.pt"


def test_an_error_whose_message_fails_or_is_huge_is_an_error_like_any_other():
    fault = classify(UnreadableError())
    assert fault.remedy == "isolate"
    assert fault.text == "UnreadableError: its message cannot be read"
    assert len(classify(ValueError("x" * 10_000_000)).text) < 1100
