import os
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from streamseg.cli.video_writer import LastPictures, check_out, open_writer
from streamseg.common.video_writer import VideoWriter
from streamseg.errors import ConfigError


def picture(color, size=(64, 48)):
    return np.full((size[1], size[0], 3), color, dtype=np.uint8)


def frames_of(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_a_video_keeps_times_and_colors(tmp_path):
    with open_writer(tmp_path / "a.mp4") as video:
        for time_s, color in ((100.0, (250, 0, 0)), (100.1, (0, 250, 0)), (100.5, (0, 0, 250))):
            video.add(picture(color), time_s)
    frames = frames_of(tmp_path / "a.mp4")
    assert [time_s for time_s, _ in frames] == pytest.approx([0.0, 0.1, 0.5], abs=0.002)
    for (_, image), channel in zip(frames, range(3), strict=True):
        assert image.shape == (48, 64, 3)
        assert image.reshape(-1, 3).mean(axis=0).argmax() == channel


def test_an_endless_video_keeps_the_end(tmp_path):
    with LastPictures(tmp_path / "a.mp4", seconds=1.0) as video:
        for number in range(31):
            video.add(picture(8 * number), number / 10)
            assert len(video._kept) <= 11
    frames = frames_of(tmp_path / "a.mp4")
    assert [time_s for time_s, _ in frames] == pytest.approx([n / 10 for n in range(11)], abs=0.002)
    assert frames[-1][1].mean() == pytest.approx(240, abs=4)


def test_repeated_and_backward_times_become_rising(tmp_path):
    with open_writer(tmp_path / "a.mp4") as video:
        for time_s in (5.0, 5.0, 4.0, 5.2):
            video.add(picture(9), time_s)
    times = [time_s for time_s, _ in frames_of(tmp_path / "a.mp4")]
    assert len(times) == 4
    assert times == sorted(set(times))


def test_odd_and_changing_sizes_are_fitted_to_the_first(tmp_path):
    with open_writer(tmp_path / "a.mp4") as video:
        for number, size in enumerate(((65, 49), (64, 48), (320, 240), (31, 201))):
            video.add(picture(9, size), number)
    assert [image.shape for _, image in frames_of(tmp_path / "a.mp4")] == [(48, 64, 3)] * 4


def test_a_video_is_complete_after_an_error(tmp_path):
    def write_and_fail():
        with open_writer(tmp_path / "a.mp4") as video:
            video.add(picture(9), 0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert len(frames_of(tmp_path / "a.mp4")) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_no_file_is_written_without_a_picture(tmp_path, name):
    with open_writer(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_an_existing_file_stays_until_the_new_one_is_complete(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"mine")
    with open_writer(path):
        assert path.read_bytes() == b"mine"
    assert path.read_bytes() == b"mine"
    with open_writer(path) as file:
        file.add(picture(9), 0.0)
        assert path.read_bytes() == b"mine"
    assert len(frames_of(path) if name == "a.mp4" else [cv2.imread(str(path))]) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(tmp_path, name):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written to: choose another"):
        check_out(tmp_path / name)


def test_a_still_is_the_last_picture(tmp_path):
    with open_writer(tmp_path / "a.png") as still:
        still.add(picture((1, 2, 3)), 0.0)
        still.add(picture((10, 20, 30)), 1.0)
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [30, 20, 10]


def test_the_longest_file_name_works(tmp_path):
    file = tmp_path / f"{'é' * 125}x.mp4"
    with VideoWriter(file) as writer:
        writer.add(np.zeros((16, 16, 3), np.uint8), 0.0)
    assert list(tmp_path.iterdir()) == [file]


def test_invalid_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.mp4 or \.png"):
        check_out(tmp_path / "a.avi")
    with pytest.raises(ConfigError, match="there is no folder"):
        check_out(tmp_path / "missing" / "a.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        open_writer(tmp_path / "folder.mp4")


def write_to_a_full_disk(path, limit):
    """Write a video in a process whose files are limited to ``limit`` bytes; return its output."""
    program = f"""
import pathlib, resource
import numpy as np
from streamseg.cli.video_writer import open_writer
from streamseg.errors import StreamsegError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with open_writer(pathlib.Path({str(path)!r})) as file:
        for number in range(40):
            file.add(np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8), number / 30)
    print("written")
except StreamsegError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "limit"), [("a.mp4", 20_000), ("a.mp4", 1000), ("a.mp4", 10), ("a.png", 1000)])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, name, limit):
    assert write_to_a_full_disk(tmp_path / name, limit) == f"{tmp_path / name} cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []
    assert write_to_a_full_disk(tmp_path / name, 10_000_000) == "written"
