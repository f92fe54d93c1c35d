"""A folder of keys, and clients' key files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamseg.protocol.key_file import read_fields
from streamseg.security.authorized_keys import Role
from streamseg.security.key_folder import KeyFolder, write_pair


class Keys:
    """A folder of keys, and the files of its clients beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = KeyFolder(path / "keys")
        self.server = self.folder.make_own_pair().decode()

    def make(self, name: str) -> Path:
        """Make the key file of a client that is not authorized."""
        file = self.path / f"{name}.key_secret"
        write_pair(file, {"name": name, "server-key": self.server})
        return file

    def authorize(
        self, name: str, role: Role = "watch", streams: tuple[str, ...] = ("*",), expires: datetime | None = None
    ) -> Path:
        """Authorize a client, or change its rights; return its key file."""
        file = self.path / f"{name}.key_secret"
        if not file.exists():
            self.make(name)
        self.folder.authorize(name, read_fields(file.read_text())["public-key"], role, streams, expires)
        return file


PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Keys of one test."""
    return Keys(tmp_path)


@pytest.fixture(scope="module")
def module_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys that the tests of a module share."""
    return Keys(tmp_path_factory.mktemp("keys"))
