from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from streamseg.config.load import config_from_mapping
from streamseg.errors import SourceOpenError
from streamseg.sources.av_decoder import hardware_of
from streamseg.sources.av_source import AvSource
from streamseg.sources.open import open_source
from tests.servers.live_servers import write_video
from tests.sources.reading import read_all

HAS_GPU = Path("/dev/nvidiactl").exists()


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without an NVIDIA GPU")
def test_without_a_gpu_the_error_says_what_to_do(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=3)
    source = open_source(config_from_mapping({"streams": {"a": {"source": str(path), "decoder": "cuda"}}}).streams["a"])
    with pytest.raises(SourceOpenError, match=r"decoder cuda: no NVIDIA GPU .*: install the driver, or set decoder to"):
        source.open()
    source.close()


def test_software_decoding_needs_no_device() -> None:
    assert hardware_of("software") is None


@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")
def test_the_gpu_decodes_the_same_pictures_with_the_same_stamps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=20, size=(320, 240), options={"bf": "2"})
    found = []
    for decoder in ("software", "cuda"):
        source = AvSource(str(path), "file", pace="fast", decoder=decoder)
        source.open()
        found.append(read_all(source))
        source.close()
    software, cuda = found
    assert [frame.stamps.pts for frame in cuda] == [frame.stamps.pts for frame in software]
    assert {frame.format.pixel_format for frame in cuda} == {"nv12"}
    for ours, theirs in zip(cuda, software, strict=True):
        assert np.array_equal(ours.planes[0], theirs.planes[0])  # H.264 is decoded to the bit
        assert np.array_equal(ours.planes[1][:, 0::2], theirs.planes[1])


@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")
def test_what_the_gpu_does_not_decode_is_left_to_the_cpu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mkv", frames=3, codec="ffv1")
    source = AvSource(str(path), "file", pace="fast", decoder="cuda")
    with caplog.at_level(logging.WARNING):
        source.open()
        assert len(read_all(source)) == 3
    source.close()
    assert "the GPU does not decode this video (ffv1): the CPU does" in caplog.text
