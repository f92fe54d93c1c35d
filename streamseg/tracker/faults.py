"""Decides what to do after an exception of a tracker. The only module that knows how torch and CUDA report faults.

Imports no torch: an error is recognized by its name and text, which also works if a library has wrapped it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from streamseg.common.redact import redact
from streamseg.protocol.text import valid_text

Remedy = Literal["retry", "isolate", "restart"]
"""``retry``: once, with less at a time and after :func:`free_cached_memory`. ``isolate``: stop tracking the affected
stream or object for a while. ``restart``: nothing works in this process anymore."""

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "std::bad_alloc",
)
_DEVICE_LOST: Final = ("CUDA error", "CUDA driver error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "CUSOLVER_STATUS_")
"""CUDA reports a kernel's error at some later call, and from then on at every call."""
_MAX_MESSAGE: Final = 1000
"""Maximum length of a message, which becomes part of an event."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A classified exception.

    Attributes:
        remedy: The remedy.
        text: Readable description.
    """

    remedy: Remedy
    text: str


def classify(error: BaseException) -> Fault:
    """Classify an exception of a tracker."""
    said = [f"{type(one).__name__}: {_message(one)}".removesuffix(": ") for one in _chain(error)]
    text = said[0]
    if any(isinstance(one, MemoryError) for one in _chain(error)) or _mentions(said, _OUT_OF_MEMORY):
        return Fault("retry", f"out of memory ({text})")
    if any(type(one).__name__ == "AcceleratorError" for one in _chain(error)) or _mentions(said, _DEVICE_LOST):
        return Fault("restart", f"the device failed ({text})")
    return Fault("isolate", text)


def free_cached_memory() -> None:
    """Return torch's cached memory to the device, so that other sizes fit. Never raises."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # the device is lost: the next call says so
            return


def _message(error: BaseException) -> str:
    """Return an exception's message. Foreign exceptions may contain anything."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - its own __str__ fails
        return "its message cannot be read"
    shown = redact(valid_text(text[:_MAX_MESSAGE]))  # an event is UTF-8, and everybody sees it
    return shown if len(text) <= _MAX_MESSAGE else f"{shown}..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        following = following.__cause__ or following.__context__


def _mentions(said: list[str], texts: tuple[str, ...]) -> bool:
    return any(text in line for line in said for text in texts)
