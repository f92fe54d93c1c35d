"""The table of source kinds."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamseg.config.schema import StreamConfig
from streamseg.errors import ConfigError
from streamseg.sources.address import describe, local_path
from streamseg.sources.images import ImageFolderSource
from streamseg.sources.open import open_source
from streamseg.sources.scene.source import SceneSource


@pytest.mark.parametrize(
    ("address", "kind", "live"),
    [
        ("rtsp://user:secret@10.0.0.5/stream", "rtsp", True),
        ("RTSPS://camera/1", "rtsp", True),
        ("rtsp+listen://127.0.0.1:8554/x", "rtsp", True),
        ("rtmp://camera/live", "rtmp", True),
        ("http://camera/video.mjpg", "http", None),
        ("https://host/live/index.M3U8?x=1", "hls", None),
        ("/dev/video0", "v4l2", True),
        ("/dev/video77", "v4l2", True),
        ("/dev/v4l/by-id/usb-046d_HD_Webcam-video-index0", "v4l2", True),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0", "v4l2", True),
        ("webcam:0", "v4l2", True),
        ("lavfi:testsrc2=size=320x180:rate=30", "lavfi", False),
        ("scene:default", "scene", True),
        ("scene:default?live=0", "scene", False),
    ],
)
def test_the_address_decides_the_kind(address: str, kind: str, live: bool | None) -> None:
    described = describe(address)
    assert (described.kind, described.live) == (kind, live)
    assert local_path(address) is None


def test_files_and_folders_are_not_live(tmp_path: Path) -> None:
    clip = tmp_path / "my:clip.mp4"
    clip.write_bytes(b"")
    for address in (str(clip), f"file:{clip}", f"file://{tmp_path}/my%3Aclip.mp4"):
        described = describe(address)
        assert (described.kind, described.live) == ("file", False)
        assert local_path(address) == clip
    (tmp_path / "1.png").write_bytes(b"")
    assert describe(str(tmp_path)).kind == "images"


def test_a_relative_path_with_a_colon_is_a_path_where_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("part:2.mp4").write_bytes(b"")
    assert describe("part:2.mp4").kind == "file"


def test_local_path_of_a_file_that_is_not_there_yet() -> None:
    assert local_path("clips/a.mp4") == Path("clips/a.mp4")
    assert local_path("file:clips/a.mp4") == Path("clips/a.mp4")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("rtps://u:secret@h/x", ["'rtps'", "did you mean 'rtsp'", "rtps://u:***@h"]),
        ("scen:default", ["'scen'", "did you mean 'scene'"]),
        ("gopher://h/x", ["'gopher'", "known: rtsp:", "/dev/videoN"]),
        ("rtsp:///x", ["has no host", "rtsp://HOST/PATH"]),
        ("http://h:99999/x", ["http://", "port (0 to 65535)"]),
        ("http://[::1/x", ["is not valid"]),
        ("webcam:front", ["'webcam:front'", "webcam:0"]),
        ("lavfi:", ["lavfi:testsrc2"]),
        ("scene:default?sed=1", ["did you mean 'seed'"]),
        ("file:", ["empty", "scene:default"]),
        ("a" * 5000, ["cannot be a file or folder"]),
        ("~no-such-user/a.mp4", ["cannot be a file or folder"]),
        ("/dev/zero", ["'/dev/zero' is a device", "webcam:0"]),
        ("file:///dev/null", ["is a device", "- for standard input"]),
        ("/proc/self/mem", ["is a file of the kernel"]),
    ],
)
def test_unknown_addresses_are_refused_with_value_and_mend(address: str, words: list[str]) -> None:
    for attempt in (describe, lambda given: open_source(StreamConfig(source=given))):
        with pytest.raises(ConfigError) as caught:
            attempt(address)
        for word in words:
            assert word in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="is a socket, not a video"):
            describe(str(tmp_path / "s"))


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"clpi\.mp4.*did you mean .*/clip\.mp4"):
        describe(str(tmp_path / "clpi.mp4"))
    with pytest.raises(ConfigError, match="holds nothing with a similar name"):
        describe(str(tmp_path / "other" / "x.mp4"))


def test_sources_are_built_with_the_stream_s_settings(tmp_path: Path) -> None:
    scene = open_source(StreamConfig(source="scene:simple?size=160x90&frames=1&live=0", pace="fast", loop=True))
    assert isinstance(scene, SceneSource)
    assert scene.open().live is False
    assert [scene.read().stamps.pts for _ in range(3)] == [0, 0, 0]
    (tmp_path / "1.png").write_bytes(b"")
    assert isinstance(open_source(StreamConfig(source=str(tmp_path))), ImageFolderSource)


def test_a_lavfi_graph_reaches_ffmpeg() -> None:
    source = open_source(StreamConfig(source="lavfi:testsrc2=size=160x90:rate=10", pace="fast"))
    try:
        info = source.open()
        assert (info.kind, info.live, info.width, info.height) == ("lavfi", False, 160, 90)
        assert source.read().format.width == 160
    finally:
        source.close()


def test_describing_loads_no_video_library() -> None:
    code = (
        "import sys; from streamseg.sources.address import describe; "
        "from streamseg.config.schema import StreamConfig; "
        "describe('scene:default'); "
        "print([name for name in ('av', 'cv2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
