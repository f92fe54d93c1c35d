"""Batch sizes that are compiled ahead, and the composition of any batch from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Buckets:
    """Batch sizes that are compiled ahead.

    Attributes:
        lanes: Sizes of the step, ascending.
        streams: Sizes of the encoder, ascending.
        pad: Whether a batch is padded to the next size. Otherwise it is split into these sizes (which begin with 1).
    """

    lanes: tuple[int, ...]
    streams: tuple[int, ...]
    pad: bool


CPU_BUCKETS: Final = Buckets(lanes=(1, 2, 4), streams=(1,), pad=False)
CUDA_BUCKETS: Final = Buckets(lanes=(1, 2, 4, 8, 16), streams=(1, 2, 4, 8), pad=True)


def parts(count: int, sizes: Sequence[int], *, pad: bool) -> list[int]:
    """Return the sizes that ``count`` items are run in, largest first; with ``pad`` the last one may be too large."""
    found: list[int] = []
    while count > 0:
        roomy = next((size for size in sizes if size >= count), None) if pad else None
        size = roomy if roomy is not None else max(size for size in sizes if size <= count)
        found.append(size)
        count -= size
    return found
