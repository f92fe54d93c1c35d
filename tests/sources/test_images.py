"""A folder of pictures as a video."""

import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from streamseg.errors import ConfigError, SourceError, SourceOpenError
from streamseg.frame import SourceFrame
from streamseg.sources.address import classify, describe
from streamseg.sources.image_list import list_images
from streamseg.sources.images import ImageFolderSource
from tests.sources.reading import read_all


def write(path: Path, value: int, size: tuple[int, int] = (32, 24)) -> None:
    image = np.full((size[1], size[0], 3), (value, 100, 200), dtype=np.uint8)  # BGR
    assert cv2.imwrite(str(path), image)


def rgb(frame: SourceFrame) -> np.ndarray:
    return frame.planes[0].reshape(frame.format.height, frame.format.width, 3)


def test_pictures_come_in_natural_order_as_rgb(tmp_path: Path) -> None:
    for name, value in (("f10.png", 30), ("f2.png", 20), ("f1.bmp", 10), ("g.PNG", 40), ("notes.txt", 0)):
        write(tmp_path / name, value) if value else (tmp_path / name).write_text("no picture")
    source = ImageFolderSource(tmp_path, pace="fast")
    info = source.open()
    assert (info.kind, info.live, info.width, info.height, info.frames, info.codec) == (
        "images", False, 32, 24, 4, "bmp",
    )  # fmt: skip
    frames = read_all(source)
    assert [tuple(rgb(frame)[5, 5]) for frame in frames] == [(200, 100, value) for value in (10, 20, 30, 40)]
    assert [frame.stamps.pts for frame in frames] == [0, 1, 2, 3]
    assert {frame.stamps.t_source for frame in frames} == {"file"}
    assert source.corrupt == 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_pixels_are_as_opencv_reads_them(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 33, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), cv2.GaussianBlur(noise, (5, 5), 0))
    source = ImageFolderSource(tmp_path, pace="fast")
    source.open()
    assert np.array_equal(rgb(source.read())[..., ::-1], cv2.imread(str(tmp_path / f"a{suffix}")))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", 50)
    plain = (tmp_path / "a.jpg").read_bytes()
    turned_right = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(
        plain[:2] + b"\xff\xe1" + (len(turned_right) + 2).to_bytes(2, "big") + turned_right + plain[2:]
    )
    source = ImageFolderSource(tmp_path, pace="fast")
    info = source.open()
    assert (info.width, info.height) == (24, 32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_picture_is_turned_and_flipped_as_it_says(tmp_path: Path, orientation: int) -> None:
    quarters = np.repeat(np.repeat(np.uint8([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]]), 24, 0), 32, 1)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(quarters).save(tmp_path / "a.avif", exif=exif, quality=95)
    source = ImageFolderSource(tmp_path, pace="fast")
    source.open()
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.avif")))
    shown = rgb(source.read())
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright).mean() < 10


def test_sizes_may_change(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    write(tmp_path / "2.png", 2, (50, 40))
    source = ImageFolderSource(tmp_path, pace="fast")
    source.open()
    assert [(frame.format.width, frame.format.height) for frame in read_all(source)] == [(32, 24), (50, 40)]


def test_an_unreadable_picture_is_counted_and_its_time_passes(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    (tmp_path / "2.jpg").write_bytes(b"this is no picture")
    (tmp_path / "3.jpg").write_bytes(b"")
    write(tmp_path / "4.png", 4)
    source = ImageFolderSource(tmp_path, pace="fast")
    source.open()
    assert [frame.stamps.pts for frame in read_all(source)] == [0, 3]
    assert source.corrupt == 2


def test_folders_without_pictures_are_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match=r"contains no images .\.jpg"):
        ImageFolderSource(tmp_path).open()
    (tmp_path / "1.png").write_bytes(b"no")
    with pytest.raises(SourceOpenError, match="the image cannot be read: "):
        ImageFolderSource(tmp_path).open()
    with pytest.raises(SourceOpenError, match="cannot be listed"):
        ImageFolderSource(tmp_path / "gone").open()


def test_a_loop_continues_with_rising_stamps_and_ends_when_all_pictures_vanish(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    write(tmp_path / "2.png", 2)
    source = ImageFolderSource(tmp_path, pace="fast", loop=True)
    source.open()
    assert [source.read().stamps.pts for _ in range(5)] == [0, 1, 2, 3, 4]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="can be read now"):
        source.read()
    source.close()
    with pytest.raises(SourceError, match="open"):
        source.read()


def test_paced_pictures_never_come_before_they_are_due(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / f"{number}.png", number)
    source = ImageFolderSource(tmp_path, fps=100)
    source.open()
    stamps = [source.read().stamps for _ in range(8)]
    for stamp in stamps:
        assert stamp.t_captured_ns - stamps[0].t_captured_ns >= stamp.pts * 10_000_000 - 2_000_000


def test_names_that_int_cannot_read_are_sorted_all_the_same(tmp_path: Path) -> None:
    for name in ("\u24602.jpg", "\u00b2.jpg", "\u0663.jpg", "10.jpg", "9.jpg", f"{'9' * 200}.jpg"):
        write(tmp_path / name, 50)
    source = ImageFolderSource(tmp_path, pace="fast")
    assert source.open().frames == 6
    assert len(read_all(source)) == 6


def png_that_claims(width: int, height: int) -> bytes:
    """A small PNG file, valid but for its data, with a size of any extent in its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min((3 * width + 1) * height, 1 << 20)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    for number, size in enumerate([(30_000, 30_000), (2**31 - 1, 1), (9_000, 9_000), (40_000, 2_000)]):
        (tmp_path / f"{number}.png").write_bytes(png_that_claims(*size))
    with pytest.raises(SourceOpenError, match=r"none of the 4 images .* can be read .*900000000|pixels"):
        ImageFolderSource(tmp_path).open()
    write(tmp_path / "5.png", 50)
    source = ImageFolderSource(tmp_path, pace="fast")
    source.open()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_all(source)) == 1
    assert source.corrupt == 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; decoded, one takes 2.7 GB


@pytest.mark.parametrize("suffix", [".tif", ".ppm", ".avif"])
def test_other_image_formats_are_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", 50)
    assert ImageFolderSource(tmp_path).open().codec == suffix[1:]


def test_patterns_select_files(tmp_path: Path) -> None:
    for name in ("img001.png", "img002.png", "img10.png", "other.png", "img003.jpg"):
        write(tmp_path / name, 50)
    for pattern, count in (("img%03d.png", 2), ("img%d.png", 3), ("*.png", 4), ("img0*.*", 3), ("img00[12].png", 2)):
        source = ImageFolderSource(tmp_path / pattern, pace="fast")
        assert source.open().frames == count, pattern
    with pytest.raises(SourceOpenError, match="matches no files"):
        ImageFolderSource(tmp_path / "x*.png").open()


def test_a_pattern_of_folders(tmp_path: Path) -> None:
    for name in ("cam10/2.png", "cam2/10.png", "cam2/9.png", "other/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, 50)
    pattern = str(tmp_path / "cam*" / "*.png")
    assert classify(pattern) == ("images", pattern)
    found = [str(path.relative_to(tmp_path)) for path in list_images(Path(pattern))]
    assert found == ["cam2/9.png", "cam2/10.png", "cam10/2.png"]
    with pytest.raises(ConfigError, match="matches no files"):
        describe(str(tmp_path / "x*" / "*.png"))
    with pytest.raises(ConfigError, match=r"\*\* is not supported"):
        describe(str(tmp_path / "**" / "*.png"))


def test_the_rate_of_a_folder_is_the_fps_setting(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", 50)
    source = ImageFolderSource(tmp_path, fps=2.5, pace="fast")
    assert source.open().frame_rate == 2.5
    frame = read_all(source)[2]
    assert (frame.stamps.pts, frame.stamps.time_base) == (2, (2, 5))
