"""Arguments of ``streamseg record`` that cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamseg.cli.app import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "two"], "'one' is not an endpoint"),
        (["tcp://127.0.0.1:1", "one", "two"], "give the folder of the recording"),
        (["tcp://127.0.0.1:1", "one", "--endpoint", "tcp://127.0.0.1:2"], "two endpoints are given"),
    ],
)
def test_contradictory_places_are_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["record", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.iterdir())
