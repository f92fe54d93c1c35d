"""Input and output of a prompter: the contract for authors of prompters (``docs/prompters.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""``uint8 [height, width, 3]`` RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """An object found by a prompter. Give one of box, points and mask, in pixels of the picture.

    Attributes:
        box: (x0, y0, x1, y1). Clipped to the picture.
        points: (x, y) or (x, y, label); label 1: on the object (default), 0: not on it.
        mask: ``bool [height, width]``.
        label: Name of the object, published with its masks; at most 100 characters.
        score: 0..1. Of two proposals for one object, the better one is used.
        key: The prompter's id for the object, if it tracks objects itself: the same object has the same key on each
            picture. Without keys, objects are recognized by their masks.
    """

    box: Sequence[float] | None = None
    points: Sequence[Sequence[float]] = ()
    mask: NDArray[Any] | None = None
    label: str = ""
    score: float = 1.0
    key: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """An object that is already tracked on the picture and need not be proposed.

    Attributes:
        object_id: Its id.
        label: Its name.
        state: ``tracked``, ``uncertain``, ``occluded``, ``lost`` or ``suspended``.
        origin: What started it: ``user``, ``config``, ``auto`` or ``prompter``.
        box: x, y, w, h of its mask in pixels; zeros if it is not seen.
        size: (width, height) of the picture.
        bits: Its mask inside ``box``: ``np.packbits(mask, axis=1).tobytes()``.
    """

    object_id: int
    label: str
    state: str
    origin: str
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    bits: bytes

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``bool [height, width]``; a new array at each call."""
        full = np.zeros((self.size[1], self.size[0]), np.bool_)
        x, y, w, h = self.box
        if w and h:
            rows = np.frombuffer(self.bits, np.uint8).reshape(h, -1)
            full[y : y + h, x : x + w] = np.unpackbits(rows, axis=1, count=w).astype(np.bool_)
        return full


class Prompter(Protocol):
    """Finds objects on pictures of one stream. Runs in the main thread of a separate process."""

    def prompts(self, picture: Picture, tracked: Sequence[Tracked]) -> Sequence[Proposal]:
        """Return the objects on a picture.

        Args:
            picture: ``uint8 [height, width, 3]`` RGB of the stream's size; a copy.
            tracked: The objects tracked on it.

        Returns:
            A list, in any order. It may contain tracked objects.
        """
        ...
