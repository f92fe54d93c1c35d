"""What to do after an exception of a tracker: the one place that knows how torch and CUDA report a fault.

Imports no torch: an error is recognized by its name and text, which also works for one that a library has wrapped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from streamseg.common.redact import redact
from streamseg.protocol.text import valid_text

Remedy = Literal["retry", "isolate", "restart"]
"""``retry``: once, with less at a time and after :func:`free_cached_memory`. ``isolate``: the stream or object that it
happened on is not tracked for a while. ``restart``: nothing works in this process any more."""

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "std::bad_alloc",
)
_DEVICE_LOST: Final = ("CUDA error", "CUDA driver error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "CUSOLVER_STATUS_")
"""CUDA reports an error of a kernel at some later call, and from then on at every one."""
_MAX_MESSAGE: Final = 1000
"""Characters of a message. It becomes part of an event."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What an exception means.

    Attributes:
        remedy: What helps.
        text: What happened, for people.
    """

    remedy: Remedy
    text: str


def classify(error: BaseException) -> Fault:
    """Return what an exception of a tracker means."""
    said = [f"{type(one).__name__}: {_message(one)}".removesuffix(": ") for one in _chain(error)]
    text = said[0]
    if any(isinstance(one, MemoryError) for one in _chain(error)) or _mentions(said, _OUT_OF_MEMORY):
        return Fault("retry", f"out of memory ({text})")
    if any(type(one).__name__ == "AcceleratorError" for one in _chain(error)) or _mentions(said, _DEVICE_LOST):
        return Fault("restart", f"the device failed ({text})")
    return Fault("isolate", text)


def free_cached_memory() -> None:
    """Return memory that torch keeps for later to the device, so that other sizes fit. Never raises."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # the device is lost: the next call says so
            return


def _message(error: BaseException) -> str:
    """Return what an exception says, which may be anything: of code that is not ours."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - its own __str__ fails
        return "its message cannot be read"
    shown = redact(valid_text(text[:_MAX_MESSAGE]))  # an event is UTF-8, and everybody sees it
    return shown if len(text) <= _MAX_MESSAGE else f"{shown}..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        following = following.__cause__ or following.__context__


def _mentions(said: list[str], texts: tuple[str, ...]) -> bool:
    return any(text in line for line in said for text in texts)
