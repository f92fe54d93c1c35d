"""The files of authorized keys, read while they change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamseg.errors import ConfigError
from streamseg.security import authorized_keys
from streamseg.security.authorized_keys import AuthorizedKeys, read_authorized
from tests.key_files import Keys
from tests.security.descriptors import no_descriptors_left


@pytest.fixture
def refreshed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AuthorizedKeys]:
    """The keys of the folder, read again at each call."""
    monkeypatch.setattr(authorized_keys, "_REFRESH_S", 0.0)
    watched = keys.folder.watched()

    def refresh() -> AuthorizedKeys:
        watched.refresh()
        return watched

    return refresh


def file_of(keys: Keys, name: str) -> Path:
    return keys.folder.folder("key") / f"{name}.key"


def test_without_descriptors_keys_stay_and_a_removed_one_goes(keys, refreshed, caplog):
    for name in ("stays", "goes"):
        keys.authorize(name)
    assert len(refreshed()) == 2
    with no_descriptors_left():
        assert len(refreshed()) == 2
        file_of(keys, "goes").unlink()
        assert len(refreshed()) == 1
        assert len(refreshed()) == 1
    assert caplog.text.count("its keys stay as they are") == 1
    keys.authorize("new")
    assert len(refreshed()) == 2


def test_a_file_that_cannot_be_read_for_now_is_tried_again(keys, refreshed):
    keys.authorize("robot")
    assert refreshed()
    keys.authorize("robot", "control")
    with no_descriptors_left():
        assert [one.role for one in refreshed()._keys.values()] == ["watch"]
    assert [one.role for one in refreshed()._keys.values()] == ["control"]


def test_a_folder_that_is_gone_has_no_keys(keys, refreshed):
    keys.authorize("robot")
    assert len(refreshed()) == 1
    file_of(keys, "robot").unlink()
    keys.folder.folder("key").rmdir()
    assert len(refreshed()) == 0


def test_a_change_of_the_mode_alone_is_seen(keys, refreshed):
    """As that of the owner: root writes a file and then gives it away."""
    keys.authorize("robot")
    file = file_of(keys, "robot")
    before = file.stat()
    file.chmod(0o622)
    assert len(refreshed()) == 0
    file.chmod(0o600)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(refreshed()) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("streams", "stream", "stream: there is no such field"),
        ("expires", "expire", "expire: there is no such field"),
        ("    expires", "    Expires", "line 5 is no field"),
        ("    expires", "expires", "line 5 is no field"),
        ('expires = "2030', 'expires: "2030', "line 5 is no field"),
        ('expires = "2030-12-31T00:00:00+00:00"', 'expires = ""', "expires is empty"),
        ('    streams = "door"\n', "", "streams is missing"),
        ('    role = "watch"\n', "", "role is missing"),
        ("watch", "Watch", "'Watch' is unknown"),
        ("curve\n", 'curve\n    streams = "*"\n', "line 7: streams is given twice"),
        ("curve\n", 'curve\n    secret-key = "x"\n', "secret-key: there is no such field"),
        ("curve\n", "#" * 20_000 + "\ncurve\n", "longer than"),
    ],
)
def test_a_field_that_is_misspelled_or_missing_gives_no_rights(keys, old, new, words):
    keys.authorize("robot", streams=("door",), expires=authorized_keys.read_expiry("2030-12-31"))
    file = file_of(keys, "robot")
    assert read_authorized(file).streams == ("door",)
    text = file.read_text().replace("streamseg: robot may watch", "by hand").replace(old, new, 1)
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_authorized(file)


def test_entries_say_what_is_wrong_and_go_on(keys):
    keys.authorize("robot")
    file_of(keys, "bad").write_bytes(b"\xff\xfe")
    good, (wrong,) = keys.folder.entries("key")
    assert [one.name for one in good] == ["robot"]
    assert "bad.key is ignored" in wrong


def test_unknown_keys_do_not_have_the_folder_read_without_limit(keys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(authorized_keys.time, "monotonic", lambda: now)
    watched = keys.folder.watched()
    reads = []
    monkeypatch.setattr(authorized_keys, "key_files", lambda *_: reads.append(now) or [])
    for _ in range(1000):
        now += 0.01
        watched.refresh(early=True)
    assert 45 <= len(reads) <= 55  # a burst of ten, and four a second
