from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, SIDE, FRAMES, STEP = 96, 64, 24, 5, 2


def square_at(frame: int) -> NDArray[np.bool_]:
    """The truth: a square that moves right by STEP pixels a frame."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[20 : 20 + SIDE, 10 + STEP * frame : 10 + STEP * frame + SIDE] = True
    return mask
