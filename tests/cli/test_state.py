"""`streamseg state` shows and clears what a daemon left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamseg.cli.app import app
from streamseg.config.load import load_config
from streamseg.daemon.kept_state import KeptState
from streamseg.daemon.process_table import RunningStream
from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream
from streamseg.ring.frame_ring import FrameRing
from streamseg.state.folder import StateFolder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration, and what a daemon with it has left."""
    file = tmp_path / "cams.yaml"
    file.write_text('streams: {cam: {source: "scene:simple"}}\nstate: {path: kept}\n')
    cup = SavedObject(3, "cup", (SavedPrompt(points=((0.5, 0.5, 1.0),)),))
    ring = FrameRing(policy="newest")
    running = {"cam": RunningStream(load_config(file).streams["cam"], ring, SavedStream((cup,), 4))}
    kept = KeptState(tmp_path / "kept", file)
    assert kept.write(running)
    kept.close()
    ring.close()
    StateFolder(tmp_path / "kept", durable=False).write_stream("cam", b"x" * 1_500_000)
    return file


def test_kept_state_is_shown_and_cleared(config: Path) -> None:
    shown = CliRunner().invoke(app, ["state", "show", str(config)])
    assert shown.exit_code == 0, shown.output
    assert "stream cam: 3 cup; memory 1.5 MB, " in shown.output
    listed = json.loads(CliRunner().invoke(app, ["state", "show", str(config), "--json"]).output)
    assert listed["streams"][0]["objects"] == [{"id": 3, "label": "cup"}]
    assert "removed" in CliRunner().invoke(app, ["state", "clear", str(config)]).output
    assert "nothing is kept" in CliRunner().invoke(app, ["state", "show", str(config)]).output
    assert "nothing is kept" in CliRunner().invoke(app, ["state", "clear", str(config)]).output


def test_the_state_of_a_running_daemon_is_not_cleared(config: Path) -> None:
    kept = KeptState(config.parent / "kept", config)
    result = CliRunner().invoke(app, ["state", "clear", str(config)])
    kept.close()
    assert isinstance(result.exception, StateError)
    assert "stop that daemon first" in str(result.exception)


@pytest.mark.parametrize("how", ["cut", "foreign", "folder", "huge"])
def test_unreadable_state_is_named_once_and_cleared(config: Path, how: str) -> None:
    record = config.parent / "kept" / "daemon.json"
    match how:
        case "cut":
            record.write_bytes(record.read_bytes()[:37])
        case "foreign":
            record.write_bytes(b"\x7fELF" + bytes(3000))
        case "folder":
            record.unlink()
            record.mkdir()
        case _:
            with record.open("r+b") as file:
                file.truncate(3 * 2**30)  # sparse
    result = CliRunner().invoke(app, ["state", "show", str(config)])
    assert isinstance(result.exception, StateError)
    assert str(result.exception).count("daemon.json") == 1
    assert CliRunner().invoke(app, ["state", "clear", str(config)]).exit_code == 0
