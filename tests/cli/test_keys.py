"""`streamseg keys`: who has access, and what they may do."""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streamseg.client.keys import load_keys
from streamseg.errors import ConfigError
from streamseg.protocol.key_file import read_fields
from streamseg.security.authorized_keys import AuthorizedKey
from streamseg.security.key_folder import KeyFolder


@pytest.fixture
def run_keys(invoke, tmp_path, monkeypatch):
    """Run `streamseg keys` on a folder of its own; return the standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = invoke("keys", *arguments, "--keys", tmp_path / "keys")
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return run


def entry(tmp_path: Path, name: str, kind="key") -> AuthorizedKey:
    found = KeyFolder(tmp_path / "keys").entry(name, kind)
    assert found is not None
    return found


def test_authorize_makes_a_pair_with_the_daemon_s_key_and_says_where(run_keys, tmp_path):
    said = run_keys("authorize", "robot")
    secret = tmp_path / "robot.key_secret"
    assert f"robot may watch * ({tmp_path}/keys)" in said
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    fields = read_fields(secret.read_text())
    assert fields["public-key"] == entry(tmp_path, "robot").key
    assert fields["server-key"].encode() == KeyFolder(tmp_path / "keys").own_pair()[0]
    assert fields["secret-key"] not in said


def test_authorize_again_changes_only_what_is_given(run_keys, tmp_path):
    run_keys("authorize", "alice", "--role", "control", "--streams", "door*,yard")
    before = entry(tmp_path, "alice")
    said = run_keys("authorize", "alice", "--expires", "30d")
    after = entry(tmp_path, "alice")
    assert (after.key, after.role, after.streams) == (before.key, "control", ("door*", "yard"))
    assert after.expires is not None
    assert abs(after.expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    assert "alice may control door*, yard until" in said
    run_keys("authorize", "alice", "--role", "watch")
    assert entry(tmp_path, "alice").expires == after.expires
    run_keys("authorize", "alice", "--expires", "never", "--streams", "*")
    assert (entry(tmp_path, "alice").expires, entry(tmp_path, "alice").streams) == (None, ("*",))
    assert entry(tmp_path, "alice").role == "watch"


def test_a_key_made_elsewhere_is_authorized_by_its_public_part(run_keys, invoke, tmp_path):
    assert invoke("keys", "generate", tmp_path / "there").exit_code == 0
    public = read_fields((tmp_path / "there.key").read_text())["public-key"]
    assert "for --server-key" in run_keys("authorize", "there", "--key", tmp_path / "there.key")
    assert entry(tmp_path, "there").key == public
    assert not (tmp_path / "keys" / "authorized" / "there.key_secret").exists()
    with pytest.raises(ConfigError, match="authorized as 'there'"):
        run_keys("authorize", "other", "--key", public)
    with pytest.raises(ConfigError, match="exists: remove it first"):
        raise invoke("keys", "generate", tmp_path / "there").exception


def test_list_and_revoke_work_beside_a_damaged_file(run_keys, invoke, tmp_path):
    run_keys("authorize", "robot")
    token = run_keys("token", "alice", "--role", "control").strip()
    assert len(token) == 32
    (tmp_path / "keys" / "authorized" / "bad.key").write_text("damaged\n")
    listed = json.loads(run_keys("list", "--json"))
    assert [(one["name"], one["kind"], one["role"]) for one in listed["entries"]] == [
        ("robot", "key", "watch"),
        ("alice", "token", "control"),
    ]
    assert token not in run_keys("list")
    result = invoke("keys", "list", "--keys", tmp_path / "keys")
    assert "bad.key is ignored: line 1 is no field" in result.stderr
    assert f"keys in {tmp_path}/keys" in result.stdout
    run_keys("authorize", "second")
    with pytest.raises(ConfigError, match=r"bad\.key is ignored"):
        run_keys("authorize", "bad")  # what it allowed is not known
    with pytest.raises(ConfigError, match="known: alice, robot, second"):
        run_keys("revoke", "unknown")
    for name in ("robot", "alice", "bad"):
        assert "no longer has access" in run_keys("revoke", name)
    assert [one["name"] for one in json.loads(run_keys("list", "--json"))["entries"]] == ["second"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["authorize", "../x"], "not a valid name"),
        (["authorize", "x", "--streams", "Door"], "'Door' is no pattern"),
        (["authorize", "x", "--streams", ""], "'' is no pattern"),
        (["authorize", "x", "--expires", "soon"], "'soon' is no time"),
        (["authorize", "x", "--expires", "2020-01-01"], "has passed"),
        (["authorize", "x", "--key", "short"], "neither a public key"),
        (["authorize", "x", "--key", ""], "neither a public key"),
        (["token", "x", "--expires", "2020-01-01"], "has passed"),
        (["revoke", "x"], "known: none"),
    ],
)
def test_refused_commands_change_nothing(run_keys, tmp_path, arguments, words):
    with pytest.raises(ConfigError, match=words):
        run_keys(*arguments)
    assert not (tmp_path / "keys" / "authorized").exists()
    assert not (tmp_path / "x.key_secret").exists()


def test_a_key_in_a_wrong_place_is_not_repeated(run_keys):
    secret = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
    with pytest.raises(ConfigError) as caught:
        run_keys("revoke", secret)
    assert secret not in str(caught.value)
    for key in (secret, "/" + secret[1:], Path(secret[:20] + "//" + secret[22:])):
        with pytest.raises(ConfigError, match="may be a key") as caught:
            load_keys(key)
        assert secret[-18:] not in str(caught.value)


def test_a_path_as_long_as_a_key_is_not_hidden():
    path = Path("/dev/" + "x" * 35)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_keys(path)
