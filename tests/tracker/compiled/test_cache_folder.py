from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from streamseg.tracker.compiled.code_cache import use_persistent_cache

PLACE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def _no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLACE, "")  # so that it is as it was afterwards
    monkeypatch.delenv(PLACE)


def test_compiled_code_is_kept_there_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use_persistent_cache()
    folder = tmp_path / "streamseg" / "compiled"
    assert os.environ[PLACE] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_place_that_was_named_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(PLACE, "/elsewhere")
    use_persistent_cache()
    assert os.environ[PLACE] == "/elsewhere"


def test_a_cache_that_cannot_be_made_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "streamseg").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        use_persistent_cache()
    assert PLACE not in os.environ
    assert "not cached for the next start" in caplog.text
