"""Pictures as an H.264 file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

RATE = 30


def write_film(
    path: Path, pictures: Iterable[np.ndarray], *, rate: int = RATE, crf: int = 18, gop_size: int | None = RATE
) -> Path:
    """Encode pictures ``uint8 [height, width, 3]`` RGB and return the path.

    Args:
        path: Of the file.
        pictures: One at least, all of one size.
        rate: Pictures a second.
        crf: Quality; 0 is the best.
        gop_size: Frames from one key frame to the next; None for the encoder's own choice.
    """
    with av.open(str(path), "w") as output:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(crf)}
        stream = output.add_stream("h264", rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        if gop_size is not None:
            stream.gop_size = gop_size
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path
