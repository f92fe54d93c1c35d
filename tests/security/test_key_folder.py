"""The folder of keys."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from streamseg.errors import ConfigError
from streamseg.security.key_folder import KeyFolder


def test_commands_for_the_shell_quote_the_folder(tmp_path: Path):
    folder = KeyFolder(tmp_path / "the keys; it's $HOME")
    assert shlex.split(folder.authorize_command())[-2:] == ["--keys", str(folder.path)]
    folder.make_own_pair()
    own = next(folder.path.glob("*.key_secret"))
    own.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        folder.own_pair()
    assert shlex.split(str(refused.value).rpartition("run: ")[2]) == ["chmod", "600", str(own)]
