"""Read mask images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamseg.errors import PromptError


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask image: every pixel that is not black belongs to the object.

    Returns:
        ``bool [height, width]``.

    Raises:
        PromptError: it cannot be read, or is all black.
    """
    import cv2  # takes 0.1 s, and only a mask prompt needs it

    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None  # it prints if there is no file
    if picture is None:
        raise PromptError(f"mask {path} cannot be read: use a PNG of the video's size")
    if picture.ndim == 3:  # the alpha channel does not count
        picture = picture[..., :3].max(axis=2)
    mask: NDArray[np.bool_] = np.asarray(picture) > 0
    if not mask.any():
        raise PromptError(f"mask {path} is all black: paint the object in any other color")
    return mask
