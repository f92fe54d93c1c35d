from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamseg.tracker.openvino.cache import NetworkCache


def keep(cache: NetworkCache, name: str, size: int) -> Path:
    with cache.making() as folder:
        (folder / "step.bin").write_bytes(bytes(size))
        kept = cache.keep(folder, name)
        assert (kept / "step.bin").is_file()
    return kept


def test_the_least_recently_used_networks_are_deleted(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path, max_bytes=1000)
    for age, name in enumerate(("a", "b", "c")):
        os.utime(keep(cache, name, 300), (100 + age, 100 + age))
    assert cache.find("a") is not None  # used now
    keep(cache, "d", 300)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", "d"}
    keep(cache, "e", 900)
    assert {path.name for path in tmp_path.iterdir()} == {"e"}


def test_too_large_networks_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = NetworkCache(tmp_path, max_bytes=1000)
    keep(cache, "a", 300)
    keep(cache, "b", 2000)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert "not kept" in caplog.text


def test_networks_that_another_daemon_kept_first_are_used(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    first = keep(cache, "a", 100)
    assert keep(cache, "a", 100) == first


def test_a_folder_that_others_may_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "streamseg" / "openvino"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    cache = NetworkCache.of_user()
    assert "others may write to it" in caplog.text
    keep(cache, "a", 10)
    assert not list(folder.iterdir())


def test_only_this_user_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = keep(NetworkCache.of_user(), "a", 10)
    assert kept.stat().st_mode & 0o777 == kept.parent.stat().st_mode & 0o777 == 0o700


MAKING = """
import sys
from pathlib import Path
from streamseg.tracker.openvino.cache import NetworkCache
with NetworkCache(Path(sys.argv[1])).making() as folder:
    (folder / "job.pt").write_bytes(bytes(500))
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_making(cache: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of a conversion, and its folder."""
    command = [sys.executable, "-c", MAKING, str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_a_killed_process_left_is_deleted_at_the_start(tmp_path: Path) -> None:
    with another_process_making(tmp_path) as (process, folder):
        NetworkCache(tmp_path)
        assert (folder / "job.pt").is_file()  # it is running
        process.kill()
        process.wait(30)
        assert (folder / "job.pt").is_file()
        NetworkCache(tmp_path)
        assert not folder.exists()


def test_what_a_killed_process_left_is_deleted_for_new_networks(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path, max_bytes=1000)
    with another_process_making(tmp_path) as (process, _):
        process.kill()
        process.wait(30)
    keep(cache, "a", 900)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_unfinished_networks_of_other_processes_count(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path, max_bytes=1000)
    keep(cache, "a", 300)
    with another_process_making(tmp_path) as (_, folder):
        keep(cache, "b", 400)
        assert {path.name for path in tmp_path.iterdir()} == {"b", folder.name}
