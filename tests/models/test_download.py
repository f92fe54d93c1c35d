from __future__ import annotations

import fcntl
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamseg.errors import ModelError
from streamseg.models.download import pull
from streamseg.models.registry import MODELS, ModelEntry

MIB = 1 << 20


def fetch(entry: ModelEntry, directory: Path, **options: Any) -> Path:
    return pull(entry, directory, **{"timeout_s": 5.0, "attempts": 3, "pause_s": 0.0, **options})


def assert_whole(path: Path, content: bytes) -> None:
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "the part file is left"


def test_a_file_is_fetched_with_progress(file_server, tmp_path):
    progress: list[tuple[int, int]] = []
    path = fetch(file_server.entry(), tmp_path / "a" / "b", progress=lambda done, whole: progress.append((done, whole)))
    assert_whole(path, file_server.content)
    assert path == tmp_path / "a" / "b" / "weights.pt"
    assert progress == sorted(progress)
    assert progress[-1] == (len(file_server.content),) * 2
    assert len(progress) > 4


def test_an_existing_file_is_not_fetched_again(file_server, tmp_path):
    path = fetch(file_server.entry(), tmp_path)
    assert fetch(file_server.entry(), tmp_path) == path
    assert len(file_server.asked) == 1


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_a_damaged_file_of_that_name_is_replaced(file_server, tmp_path, damage):
    content = file_server.content
    wrong = content[:1000] if damage == "short" else b"x" + content[1:]
    (tmp_path / "weights.pt").write_bytes(wrong)
    assert_whole(fetch(file_server.entry(), tmp_path), content)


def test_base_url_replaces_the_publishers_address(file_server, tmp_path):
    entry = file_server.entry()
    assert entry.checkpoint is not None
    elsewhere = replace(entry, checkpoint=replace(entry.checkpoint, url="http://nowhere.invalid/x/weights.pt"))
    assert_whole(fetch(elsewhere, tmp_path, base_url=file_server.url + "/"), file_server.content)


def test_a_cut_connection_is_resumed_where_it_broke(file_server, tmp_path):
    file_server.script = ["cut:1000000", "cut:1000"]
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)
    assert [request.get("Range") for request in file_server.asked] == [None, "bytes=1000000-", "bytes=1001000-"]
    assert file_server.asked[1]["If-Range"] == '"one"'


def test_attempts_that_make_progress_are_not_counted(file_server, tmp_path):
    file_server.script = [f"cut:{MIB}", f"cut:{MIB}", f"cut:{MIB}"]
    assert_whole(fetch(file_server.entry(), tmp_path, attempts=1), file_server.content)
    assert len(file_server.asked) == 4


def test_a_later_call_resumes_from_the_part_file(file_server, tmp_path):
    file_server.script = ["cut:2000000", "503", "503"]
    with pytest.raises(ModelError, match=r"1 of 3 MiB are here and are kept.*put it at .*weights\.pt \(sha256"):
        fetch(file_server.entry(), tmp_path, attempts=2)
    assert (tmp_path / "weights.pt.part").stat().st_size == 2_000_000
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)
    assert file_server.asked[-1]["Range"] == "bytes=2000000-"


def test_a_server_that_ignores_range_is_read_from_the_start(file_server, tmp_path):
    file_server.ranges = False
    file_server.script = ["cut:1000000"]
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)


def test_a_file_that_changed_at_the_server_is_restarted(file_server, tmp_path):
    entry = file_server.entry()
    good = file_server.content
    file_server.content, file_server.etag = bytes(len(good)), '"old"'
    file_server.script = ["cut:1000000", "503"]
    with pytest.raises(ModelError):
        fetch(entry, tmp_path, attempts=2)
    file_server.content, file_server.etag = good, '"new"'
    assert_whole(fetch(entry, tmp_path), good)
    assert [request.get("Range") for request in file_server.asked][2:] == ["bytes=1000000-", None]


def test_if_range_notices_the_change_within_one_call(file_server, tmp_path):
    entry = file_server.entry()
    good = file_server.content
    file_server.content, file_server.etag = bytes(len(good)), '"old"'
    file_server.script = ["cut:1000000"]

    def replaced(done: int, whole: int) -> None:
        if done == 1_000_000:
            file_server.content, file_server.etag = good, '"new"'

    assert_whole(fetch(entry, tmp_path, progress=replaced), good)
    assert len(file_server.asked) == 2


def test_a_response_with_another_range_is_not_used(file_server, tmp_path):
    file_server.script = ["cut:1000000", "shifted"]
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)
    assert "Range" not in file_server.asked[2]


@pytest.mark.parametrize("length", [0, 100])
def test_a_wrong_part_file_is_fetched_again(file_server, tmp_path, length):
    (tmp_path / "weights.pt.part").write_bytes(bytes(len(file_server.content) + length))
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)


def test_a_complete_part_file_needs_no_server(file_server, tmp_path):
    (tmp_path / "weights.pt.part").write_bytes(file_server.content)
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)
    assert file_server.asked == []


def test_a_wrong_digest_leaves_nothing(file_server, tmp_path):
    entry = file_server.entry()
    file_server.content = b"x" + file_server.content[1:]
    with pytest.raises(ModelError, match="its sha256 is not"):
        fetch(entry, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_login_page_is_not_taken_for_the_file(file_server, tmp_path):
    entry = file_server.entry()
    file_server.content = b"<html>Please log in</html>"
    with pytest.raises(ModelError, match=r"has 26 bytes, expected 3200000: .*proxy or login"):
        fetch(entry, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(file_server.asked) == 1


def test_more_bytes_than_announced_are_refused(file_server, tmp_path):
    file_server.script = ["endless"]
    with pytest.raises(ModelError, match="has more than 3200000 bytes"):
        fetch(file_server.entry(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_not_found_is_reported_at_once(file_server, tmp_path):
    file_server.script = ["404"]
    with pytest.raises(ModelError, match=r"answered 404.*weights\.pt yourself"):
        fetch(file_server.entry(), tmp_path)
    assert len(file_server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_retried(file_server, tmp_path):
    file_server.script = ["503", "429"]
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)


@pytest.mark.parametrize("step", ["stall", "hang:1000"])
def test_a_silent_server_times_out(file_server, tmp_path, step):
    file_server.script = [step, step]
    with pytest.raises(ModelError, match=r"cannot be fetched: .*\(no answer in time\)"):
        fetch(file_server.entry(), tmp_path, timeout_s=0.3, attempts=2)
    assert len(file_server.asked) == 2


def test_a_refused_connection_says_how_to_go_on(file_server, tmp_path):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelError, match=r"no connection \(.*refused\).*Without a network.*weights\.pt \(sha256"):
            fetch(file_server.entry(), tmp_path, base_url=closed)


def test_a_full_disk_is_noticed_before_the_download(file_server, tmp_path):
    entry = file_server.entry()
    assert entry.checkpoint is not None
    with pytest.raises(ModelError, match="make room"):
        fetch(replace(entry, checkpoint=replace(entry.checkpoint, nbytes=1 << 60)), tmp_path)
    assert file_server.asked == []


def test_a_directory_that_cannot_be_made_is_an_error(file_server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        fetch(file_server.entry(), tmp_path / "file" / "models")


def test_a_locked_part_file_is_refused(file_server, tmp_path):
    with (tmp_path / "weights.pt.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match="is being fetched by another process"):
            fetch(file_server.entry(), tmp_path)
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)


def test_a_second_pull_during_the_first_is_refused(file_server, tmp_path):
    refusals = []

    def again(done: int, whole: int) -> None:
        if not refusals:
            with pytest.raises(ModelError, match="another process") as refusal:
                fetch(file_server.entry(), tmp_path)
            refusals.append(refusal)

    assert_whole(fetch(file_server.entry(), tmp_path, progress=again), file_server.content)
    assert len(refusals) == 1


def test_an_interrupted_pull_keeps_what_it_has(file_server, tmp_path):
    def interrupt(done: int, whole: int) -> None:
        if done > MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(file_server.entry(), tmp_path, progress=interrupt)
    assert not (tmp_path / "weights.pt").exists()
    assert (tmp_path / "weights.pt.part").stat().st_size > MIB
    assert_whole(fetch(file_server.entry(), tmp_path), file_server.content)
    assert re.fullmatch(r"bytes=\d+-", file_server.asked[-1]["Range"])


@pytest.mark.parametrize("base_url", ["file:///etc", "ftp://host", "weights", "http://"])
def test_only_http_addresses_are_accepted(tmp_path, base_url):
    with pytest.raises(ModelError, match="expected an http"):
        fetch(MODELS["sam2.1_hiera_tiny"], tmp_path, base_url=base_url)


def test_a_login_in_the_address_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(ModelError, match="without a login") as error:
        fetch(MODELS["sam2.1_hiera_tiny"], tmp_path, base_url="https://me:hunter2@host/models")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", ["nano", "fixed", "colour"])
def test_models_without_a_checkpoint_cannot_be_pulled(tmp_path, name):
    with pytest.raises(ModelError, match="has no checkpoint to fetch"):
        pull(name, tmp_path)
