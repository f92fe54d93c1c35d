from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.common.image_file import check_size
from streamseg.common.mask_file import read_mask
from streamseg.errors import PromptError
from tests.sources.test_images import png_that_claims


def test_every_pixel_that_is_not_black_belongs_to_the_object(tmp_path):
    picture = np.zeros((6, 8, 4), np.uint8)
    picture[1:3, 2:5, 0] = 1
    picture[..., 3] = 255
    cv2.imwrite(str(tmp_path / "m.png"), picture)
    mask = read_mask(tmp_path / "m.png")
    assert mask.shape == (6, 8)
    assert mask.dtype == bool
    assert np.array_equal(np.argwhere(mask), np.argwhere(picture[..., 0]))
    cv2.imwrite(str(tmp_path / "gray.png"), picture[..., 0])
    assert np.array_equal(read_mask(tmp_path / "gray.png"), mask)


@pytest.mark.parametrize(
    "content", [None, b"", b"text", png_that_claims(30_000, 30_000), png_that_claims(2**31 - 1, 1)]
)
def test_files_that_are_no_mask_are_refused_with_the_reason(tmp_path, content):
    if content is not None:
        (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(
        PromptError, match=r"m\.png cannot be read \((there is no|it is not|it has|the file is).*\): use a PNG"
    ):
        read_mask(tmp_path / "m.png")


def test_files_of_the_kernel_are_not_read():
    with pytest.raises(PromptError, match=r"stat cannot be read \(the file is empty\)"):
        read_mask(Path("/proc/self/stat"))  # of another one, /proc/kmsg, a read does not end
    check_size(Path("/proc/self/stat"))


def test_an_all_black_mask_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((6, 8), np.uint8))
    with pytest.raises(PromptError, match="all black"):
        read_mask(tmp_path / "m.png")
