"""The real executable, and a real daemon for commands that need one."""

import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamseg.cli.app import app
from tests.cli.executable import Streamseg, read_until


@pytest.fixture
def streamseg(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    return Streamseg(folder, {"STREAMSEG_MODELS": str(tmp_path / "models")})


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """Where a daemon publishes the masks of `scene:simple`, tracked by its colors."""
    folder = tmp_path_factory.mktemp("daemon")
    address = f"ipc://{folder}/pub"
    runner = Streamseg(folder, {"XDG_RUNTIME_DIR": str(folder)})
    demo = (Path(__file__).parents[2] / "configs" / "demo.yaml").read_text()
    (folder / "demo.yaml").write_text(demo.replace("scene:simple", "scene:simple?fps=10"))
    daemon = runner.start("run", "demo.yaml", "--endpoint", address, stderr=subprocess.PIPE)
    try:
        read_until(daemon, daemon.stderr, "ready: masks at")
        yield address
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("STREAMSEG_MODELS", str(tmp_path / "models"))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
