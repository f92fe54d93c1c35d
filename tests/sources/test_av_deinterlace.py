"""Interlaced pictures: the two fields of a moving edge must not show as a comb."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamseg.errors import EndOfStreamError
from streamseg.frame import SourceFrame
from streamseg.sources.av_deinterlace import Deinterlace
from streamseg.sources.av_source import AvSource

FRAMES = 12
WIDTH, HEIGHT = 320, 240


def picture(number: int) -> np.ndarray:
    """A bar that moves by 8 pixels from one field to the next."""
    rgb = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for field in (0, 1):
        left = 20 + 16 * number + 8 * field
        rgb[field::2, left : left + 60] = 220
    return rgb


def write(path: Path, *, flagged: bool, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    width, height = size
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"x264-params": "tff=1"} if flagged else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(number)[:height, :width]), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_all(path: Path, mode: Deinterlace) -> list[SourceFrame]:
    source = AvSource(str(path), "file", pace="fast", deinterlace=mode)
    source.open()
    frames = []
    try:
        while True:
            frame = source.read()
            frames.append(SourceFrame(frame.format, tuple(plane.copy() for plane in frame.planes), frame.stamps))
    except EndOfStreamError:
        return frames
    finally:
        source.close()


def comb(frame: SourceFrame) -> float:
    """How much rows differ from both rows around them."""
    luma = frame.planes[0].astype(int)
    above, row, below = luma[:-2], luma[1:-1], luma[2:]
    return float(np.mean(np.minimum(abs(row - above), abs(row - below)) * ((row - above) * (row - below) > 0)))


@pytest.mark.parametrize(
    ("mode", "flagged", "clean"),
    [("auto", True, True), ("auto", False, False), ("on", False, True), ("on", True, True), ("off", True, False)],
)
def test_combs_are_removed_by_mode_and_flag(tmp_path: Path, mode: Deinterlace, flagged: bool, clean: bool) -> None:
    frames = read_all(write(tmp_path / "clip.mkv", flagged=flagged), mode)
    assert len(frames) == FRAMES
    assert [frame.stamps.pts for frame in frames] == sorted({frame.stamps.pts for frame in frames})
    worst = max(comb(frame) for frame in frames[1:-1])
    assert (worst < 1.0) if clean else (worst > 5.0)


def test_progressive_pictures_are_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", flagged=False)
    for off, auto in zip(read_all(path, "off"), read_all(path, "auto"), strict=True):
        assert all(np.array_equal(*planes) for planes in zip(off.planes, auto.planes, strict=True))


def test_the_size_may_change_while_deinterlacing(tmp_path: Path) -> None:
    joint = tmp_path / "joint.ts"
    second = write(tmp_path / "second.ts", flagged=True, size=(160, 120))
    joint.write_bytes(write(tmp_path / "first.ts", flagged=True).read_bytes() + second.read_bytes())
    sizes = [(frame.format.width, frame.format.height) for frame in read_all(joint, "auto")]
    assert sizes == [(WIDTH, HEIGHT)] * FRAMES + [(160, 120)] * FRAMES
