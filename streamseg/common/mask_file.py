"""Read mask images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamseg.common.image_file import ImageError, read_image
from streamseg.errors import PromptError

_UNCHANGED = -1  # cv2.IMREAD_UNCHANGED, without its import


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask image: every pixel that is not black belongs to the object.

    Returns:
        ``bool [height, width]``.

    Raises:
        PromptError: it cannot be read, is too large, or is all black.
    """
    try:
        picture = read_image(path, _UNCHANGED)
    except ImageError as error:
        raise PromptError(f"mask {path} cannot be read ({error}): use a PNG of the picture's size") from None
    if picture.ndim == 3:  # ignore the alpha channel
        picture = picture[..., :3].max(axis=2)
    mask: NDArray[np.bool_] = picture > 0
    if not mask.any():
        raise PromptError(f"mask {path} is all black: paint the object in any other color")
    return mask
