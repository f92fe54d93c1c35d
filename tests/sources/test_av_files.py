"""Damaged files, and files that are not videos: what is delivered, and the errors."""

import io
import logging
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from streamseg.config.schema import StreamConfig
from streamseg.errors import (
    ConfigError,
    EndOfStreamError,
    SourceError,
    SourceOpenError,
)
from streamseg.frame import FrameFormat
from streamseg.sources import pacer
from streamseg.sources.address import SourceAddress, describe
from streamseg.sources.av_errors import open_error
from streamseg.sources.av_options import AvKind
from streamseg.sources.av_picture import PictureReader, _turned
from streamseg.sources.av_session import AvSession
from streamseg.sources.av_source import AvSource
from streamseg.sources.open import open_source
from tests.servers.live_servers import free_port, write_video
from tests.sources.simulated_clock import SimulatedClock
from tests.sources.test_images import png_that_claims


def fast_start(path: Path, to: Path) -> Path:
    """Copy a video with its index in front, so that a part of it can be played."""
    with av.open(str(path)) as source, av.open(str(to), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return to


def read_to_the_end(source: AvSource) -> tuple[int, SourceError]:
    """Return how many frames came, and the error after them."""
    count = 0
    while True:
        try:
            source.read()
        except SourceError as error:
            return count, error
        count += 1


@pytest.mark.parametrize("pace", ["fast", "live"])
def test_a_cut_off_file_gives_all_that_it_holds(tmp_path: Path, pace: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = fast_start(write_video(tmp_path / "a.mp4", frames=40, options={"bf": "0", "g": "10"}), tmp_path / "b.mp4")
    with av.open(str(whole)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[25]
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: position + size // 2])
    source = AvSource(str(tmp_path / "cut.mp4"), "file", pace=pace)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        source.open()
        count, error = read_to_the_end(source)
        source.close()
    assert count == 25
    assert isinstance(error, EndOfStreamError)
    assert "the rest cannot be read (26 of 40 packets), after 25 pictures, 1 damaged packet" in str(error)
    assert any("cut off or damaged" in record.getMessage() for record in caplog.records)


def test_a_whole_file_says_how_many_pictures_it_had(tmp_path: Path) -> None:
    source = AvSource(str(write_video(tmp_path / "a.mp4", frames=12)), "file", pace="fast")
    source.open()
    count, error = read_to_the_end(source)
    source.close()
    assert count == 12
    assert str(error).endswith("end of the video after 12 pictures")


def test_damage_in_a_file_is_reported_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.ts", frames=40)
    data = bytearray(path.read_bytes())
    start = len(data) // 2 // 188 * 188
    del data[start : start + 3 * 188]  # three packets are lost
    path.write_bytes(data)
    source = AvSource(str(path), "file", pace="fast")
    with caplog.at_level(logging.WARNING):
        source.open()
        count, error = read_to_the_end(source)
        source.close()
    assert 20 < count <= 40
    assert "damaged packet" in str(error)
    assert any("damaged data after" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "mpeg2video"), ("avi", "mpeg4")]
)
def test_damage_that_the_decoder_conceals_is_reported_and_counted(
    tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / f"a.{suffix}", frames=40, size=(320, 240), codec=codec, options={"g": "10"})
    data = path.read_bytes()
    damaged, middle = bytearray(data), len(data) // 2
    rng = np.random.default_rng(3)
    for place in (middle, middle + 9000, middle + 15000):  # all packets keep their place and length
        damaged[place : place + 40] = bytes(
            rng.integers(1, 256, 40, np.uint8) ^ np.frombuffer(data, np.uint8)[place : place + 40]
        )
    (tmp_path / f"b.{suffix}").write_bytes(damaged)
    whole, broken = (AvSource(str(tmp_path / f"{name}.{suffix}"), "file", pace="fast") for name in "ab")
    whole.open()
    assert read_to_the_end(whole)[0] == 40
    assert whole.damaged == 0
    whole.close()
    with caplog.at_level(logging.WARNING):
        broken.open()
        count, error = read_to_the_end(broken)
        bad = broken.damaged + broken.corrupt
        broken.close()
    assert 1 <= bad <= 10
    assert count >= 30
    assert f"end of the video after {count} pictures, {bad} damaged packet" in str(error)
    assert any("damaged data after" in record.getMessage() for record in caplog.records)


def test_a_fragmented_file_that_ends_within_a_picture_is_cut_off(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "a.mp4", frames=40, options={"bf": "0", "g": "10"}, container_options=options)
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][25]
        end = last.pos + last.size // 2
    path.write_bytes(path.read_bytes()[:end])
    source = AvSource(str(path), "file", pace="fast")
    source.open()
    count, error = read_to_the_end(source)
    source.close()
    assert count == 25
    assert "the rest cannot be read (it ends within a picture), after 25 pictures, 1 damaged packet" in str(error)


def test_a_file_played_as_a_camera_never_falls_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimulatedClock()
    monkeypatch.setattr(pacer, "time", clock)
    source = AvSource(str(write_video(tmp_path / "a.mp4", frames=30)), "file", pace="camera")
    source.open()
    first = source.read()
    clock.sleep(1.0)  # the reader is busy
    started = clock.now_s
    for _ in range(20):
        source.read()
    assert clock.now_s == started, "what is due comes at once"
    last = source.read()
    source.close()
    assert first.stamps.t_source == last.stamps.t_source == "file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"no video at all", "not a video that FFmpeg can read"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\xff\xffmdat" + bytes(5000), r"its index \(moov\)"),
        (png_that_claims(30_000, 30_000), "more than"),
    ],
)
def test_files_that_are_no_video_are_named_as_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.dat").write_bytes(content)
    with pytest.raises(SourceOpenError, match=words):
        AvSource(str(tmp_path / "a.dat"), "file").open()


def test_sound_alone_is_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(SourceOpenError, match=r"contains no video, only sound \(aac\)"):
        AvSource(str(tmp_path / "a.mp4"), "file").open()


def test_a_fifo_without_a_writer_respects_the_time_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceOpenError, match=r"nothing was written to this FIFO within 0\.5 s"):
        AvSource(str(tmp_path / "pipe"), "file", open_timeout_s=0.5).open()


def test_a_fifo_with_a_writer_is_played(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.ts", frames=30).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data), daemon=True)
    writer.start()
    source = AvSource(str(tmp_path / "pipe"), "file", pace="fast")
    source.open()
    count, error = read_to_the_end(source)
    source.close()
    writer.join(10)
    assert count == 30
    assert isinstance(error, EndOfStreamError)


def test_the_video_stream_can_be_chosen(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = []
        for width in (64, 320, 96):
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            streams.append(stream)
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, stream.width, 3), np.uint8), format="rgb24")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    with av.open(str(tmp_path / "a.mkv")) as container:
        best = container.streams.best("video").width
    for number, width in ((None, best), (0, 64), (1, 320), (2, 96)):
        source = AvSource(str(tmp_path / "a.mkv"), "file", pace="fast", video_stream=number)
        assert source.open().width == width
        assert source.read().format.width == width
        source.close()
    with pytest.raises(SourceOpenError, match="video_stream is 3, but there are 3 video streams: use 0 to 2"):
        AvSource(str(tmp_path / "a.mkv"), "file", video_stream=3).open()


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(SourceOpenError, match=r"'no-such-host\.invalid' is unknown: check the host name and the DNS$"):
        AvSource("http://no-such-host.invalid/x", "http").open()
    with pytest.raises(SourceOpenError, match="and the DNS, and percent-encode the password"):
        AvSource("http://u:pw@no-such-host.invalid/x", "http").open()


@pytest.mark.parametrize("address", ["0", "7", "webcam"])
def test_a_bare_number_suggests_the_webcam(address: str) -> None:
    with pytest.raises(ConfigError, match=f"for a webcam write webcam:{address if address != 'webcam' else 0}"):
        describe(address)


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(ConfigError, match=r"clip\.mp4' is a link to .*gone\.mp4', which does not exist"):
        describe(str(tmp_path / "clip.mp4"))


@pytest.mark.parametrize("scheme", ["Rtsp", "HTTP", "rTmP"])
def test_schemes_are_accepted_in_any_case(scheme: str) -> None:
    source = open_source(StreamConfig(source=f"{scheme}://127.0.0.1:{free_port()}/x", open_timeout_s=2))
    with pytest.raises(SourceOpenError, match="connection refused"):
        source.open()


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        (Fraction(16, 11), (16, 11)),
        (Fraction(64, 45), (64, 45)),
        (Fraction(3, 4), (3, 4)),
        (Fraction(1, 1), (1, 1)),
        (None, (1, 1)),
        (Fraction(200, 1), (1, 1)),  # damaged data
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_the_sample_aspect_ratio_is_read(
    tmp_path: Path, suffix: str, aspect: Fraction | None, expected: tuple[int, int]
) -> None:
    video = write_video(tmp_path / f"clip.{suffix}", frames=3, size=(72, 56), sample_aspect=aspect)
    source = AvSource(str(video), "file", pace="fast")
    source.open()
    frame = source.read()
    source.close()
    assert frame.format.sample_aspect == expected
    assert (frame.format.width, frame.format.height) == (72, 56)


def test_a_turned_picture_has_turned_pixels(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", frames=1, size=(72, 56))
    with av.open(str(video)) as container:
        picture = next(container.decode(video=0))
    assert PictureReader().read(picture, (16, 11))[0].sample_aspect == (16, 11)
    frame_format = FrameFormat(72, 56, "gray8", sample_aspect=(16, 11))
    turned, _ = _turned(frame_format, (np.zeros((56, 72), np.uint8),), 1)
    assert (turned.width, turned.height, turned.sample_aspect) == (56, 72, (11, 16))


def large_image(kind: str) -> bytes:
    """A valid image of 81 million pixels, of which the first megabyte does not tell the size."""
    buffer = io.BytesIO()
    image = Image.new("L", (9_000, 9_000))
    if kind == "TIFF":  # the size comes after the pixels
        image.save(buffer, "TIFF", compression="raw")
        return buffer.getvalue()
    image.save(buffer, kind)
    data = buffer.getvalue()
    if kind == "JPEG":
        return data[:2] + (b"\xff\xe5" + (65_000).to_bytes(2, "big") + bytes(64_998)) * 40 + data[2:]
    text = b"tEXt" + b"k\0" + b"x" * 2_000_000
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    return data[:8] + chunk + data[8:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_large_image_is_refused_wherever_its_size_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "video"
    path.write_bytes(large_image(kind))
    code = (
        "import resource, sys; from streamseg.sources.av_source import AvSource\n"
        "source = AvSource(sys.argv[1], 'file'); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: source.open(); source.read()\n"
        "except Exception as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True)
    *message, grown_kib = ran.stdout.splitlines()
    assert "pixels" in message[-1]
    assert "more than 67,108,864" in message[-1]
    assert int(grown_kib) < 60_000  # its pixels alone have 79 MiB


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n"),
        ("b.m3u8", "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nrtmp://127.0.0.1:1/a\n#EXT-X-ENDLIST\n"),
        ("c.ffconcat", "ffconcat version 1.0\nfile http://127.0.0.1:1/a.ts\n"),
        ("d.ffconcat", "ffconcat version 1.0\nfile /etc/hostname\n"),
        ("e.mpd", "<?xml version='1.0'?>\n<MPD><Period><BaseURL>http://127.0.0.1:1/</BaseURL></Period></MPD>"),
    ],
)
def test_what_ffmpeg_refuses_in_a_playlist_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceOpenError, match="refuses what this playlist refers to"):
        AvSource(str(path), "file", open_timeout_s=4).open()


def test_video_that_ffmpeg_cannot_decode_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", frames=5)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_NOBODYKNOWSIT"))
    with pytest.raises(SourceOpenError, match="FFmpeg cannot decode"):
        AvSource(str(path), "file").open()


def test_a_slow_machine_does_not_make_a_file_a_host(tmp_path: Path) -> None:
    """Opening takes longer than the time-out: a bad file is still a bad file."""
    (tmp_path / "a.avi").write_bytes(b"no video")
    address = SourceAddress.of(str(tmp_path / "a.avi"))
    with pytest.raises(av.error.InvalidDataError) as caught:
        av.open(address.text)
    error = open_error(caught.value, address, "file", elapsed_s=5.0, timeout_s=1.0)
    assert "not a video that FFmpeg can read" in str(error)
    error = open_error(caught.value, SourceAddress.of("http://cam/1"), "http", elapsed_s=5.0, timeout_s=1.0)
    assert "no answer within 1 s, half of open_timeout_s" in str(error)  # a server that accepts and never answers


@pytest.mark.parametrize(
    ("target", "kind", "shown"),
    [(":77", "screen", "screen::77: the screen cannot be read"), ("nosuchfilter", "lavfi", "lavfi:nosuchfilter: ")],
)
def test_an_address_is_shown_with_its_prefix(target: str, kind: AvKind, shown: str) -> None:
    with pytest.raises(SourceOpenError) as caught:
        AvSource(target, kind).open()
    assert str(caught.value).startswith(shown)


def test_a_packet_of_an_unknown_stream_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV raises IndexError at one, or not, by what lies in memory behind its list of streams."""
    demux, begun = AvSession._demux, []

    def broken(session: AvSession) -> Iterator[object]:
        begun.append(session)
        yield from islice(demux(session), 3)
        raise IndexError("list index out of range")

    monkeypatch.setattr(AvSession, "_demux", broken)
    source = AvSource(str(write_video(tmp_path / "clip.ts", frames=20)), "file", pace="fast")
    source.open()
    while len(begun) < 6:
        source.read()
    monkeypatch.undo()
    pictures, error = read_to_the_end(source)
    source.close()
    assert pictures > 0
    assert isinstance(error, EndOfStreamError)


def test_a_stream_that_begins_in_the_middle_is_left_out(tmp_path: Path) -> None:
    """In a transport stream sound may join later."""
    quiet, loud = tmp_path / "quiet.ts", tmp_path / "loud.ts"
    for path in (quiet, loud):
        with av.open(str(path), "w") as output:
            video = output.add_stream("mpeg2video", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            sounds = [output.add_stream("mp2", rate=48000) for _ in range(3)] if path == loud else []
            # FFmpeg looks at the first five seconds when it opens the file.
            for number in range(250 if path == quiet else 12):
                for sound in sounds:
                    samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152 * 2), np.int16), "s16", "stereo")
                    samples.sample_rate, samples.pts = 48000, 1152 * number
                    output.mux(sound.encode(samples))
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), "rgb24")
                picture.pts = number
                output.mux(video.encode(picture))
            for stream in (video, *sounds):
                output.mux(stream.encode(None))
    both = tmp_path / "both.ts"
    both.write_bytes(quiet.read_bytes() + loud.read_bytes())
    source = AvSource(str(both), "file", pace="fast")
    source.open()
    pictures, error = read_to_the_end(source)
    source.close()
    assert pictures >= 260
    assert isinstance(error, EndOfStreamError)
