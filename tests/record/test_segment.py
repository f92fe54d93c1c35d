"""A file of a recording: what goes in comes out, whatever happens to its writer."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from streamseg.errors import RecordError
from streamseg.record.segment import Recorded, SegmentWriter, pack, read_segment, unpack
from tests.protocol import golden_messages

GOLDEN = [
    Recorded(parts[0], tuple(parts[1:]), 1_790_000_000_000_000_000 + number)
    for number, parts in enumerate(
        golden_messages.read(path.stem) for path in sorted(golden_messages.FOLDER.glob("*.bin"))
    )
]


def write_all(path: Path) -> None:
    writer = SegmentWriter(path)
    for recorded in GOLDEN:
        writer.write(recorded)
    writer.close()


def test_every_golden_message_comes_back(tmp_path: Path) -> None:
    write_all(tmp_path / "a.mcap")
    assert list(read_segment(tmp_path / "a.mcap")) == GOLDEN


def test_mcap_s_own_reader_shows_headers_with_their_schema(tmp_path: Path) -> None:
    write_all(tmp_path / "a.mcap")
    with (tmp_path / "a.mcap").open("rb") as file:
        found = list(make_reader(file).iter_messages())
    assert len(found) == len(GOLDEN)
    by_topic = {
        channel.topic: (schema.name if schema else "", channel.message_encoding) for schema, channel, _ in found
    }
    assert by_topic["v1/cam1/events/"] == ("streamseg.Event", "json")
    assert by_topic["v1/_daemon/status/"] == ("streamseg.DaemonStatus", "json")
    assert by_topic["v1/cam1/masks/"] == ("", "streamseg-parts")


def test_a_file_cut_anywhere_gives_every_whole_message(tmp_path: Path) -> None:
    write_all(tmp_path / "a.mcap")
    data, cut = (tmp_path / "a.mcap").read_bytes(), tmp_path / "cut.mcap"
    numbers = []
    for size in (*range(100), *range(100, len(data), 97)):
        cut.write_bytes(data[:size])
        found = list(read_segment(cut))
        assert found == GOLDEN[: len(found)]
        numbers.append(len(found))
    assert numbers == sorted(numbers)
    assert numbers[-1] == len(GOLDEN)


def test_messages_written_before_a_kill_are_readable(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.record.test_segment import *\n"
        "writer = SegmentWriter(Path(sys.argv[1]))\n"
        "for recorded in GOLDEN: writer.write(recorded)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.mcap")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert list(read_segment(tmp_path / "a.mcap")) == GOLDEN


def test_a_full_disk_ends_the_file_with_the_message_before(tmp_path: Path) -> None:
    """The limit of file size refuses a part of a write, as a full disk does."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from tests.record.test_segment import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "writer = SegmentWriter(Path(sys.argv[1]))\n"
        "written = 0\n"
        "try:\n"
        "    while True:\n"
        "        for recorded in GOLDEN: writer.write(recorded); written += 1\n"
        "except OSError: print(written)\n"
        "writer.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.mcap")], capture_output=True, timeout=60)
    assert resource.RLIMIT_FSIZE is not None
    written = int(done.stdout)
    found = list(read_segment(tmp_path / "a.mcap"))
    assert len(found) == written > 0
    assert found == [GOLDEN[number % len(GOLDEN)] for number in range(written)]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"something else entirely")
    with pytest.raises(RecordError, match="not a recording"):
        list(read_segment(tmp_path / "a.mcap"))
    with pytest.raises(RecordError, match="No such file"):
        list(read_segment(tmp_path / "b.mcap"))


def test_packed_parts_unpack() -> None:
    parts = (b"", b"abc", b"\x00" * 300)
    assert unpack(pack(parts)) == parts
    assert unpack(pack(parts)[:-1]) == ()


@pytest.mark.parametrize("compression", [CompressionType.LZ4, CompressionType.ZSTD])
def test_a_damaged_chunk_ends_the_file_of_another_program(
    tmp_path: Path, compression: CompressionType, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=10_000)
        writer.start()
        channel = writer.register_channel("v1/cam/masks/", "streamseg-parts", 0)
        for number in range(50):
            writer.add_message(channel, number, pack([b"{}" * 200]), number)
        writer.finish()
    whole = list(read_segment(path))
    assert len(whole) == 50
    data = path.read_bytes()
    name = compression.name.lower().encode()
    second = data.index(name, data.index(name) + 1)
    for offset in (12, 20, 40, 60):
        path.write_bytes(data[: second + offset] + b"\xff" * 8 + data[second + offset + 8 :])
        found = list(read_segment(path))
        assert found == whole[: len(found)]
        assert found
    assert "is damaged, and the rest of it is left out" in caplog.text
