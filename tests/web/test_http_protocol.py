"""Limits and TLS rely on uvicorn's internals: test the installed, the oldest and the newest allowed version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = "tests.web.http_protocol_check"


def allowed_range() -> tuple[str, str]:
    """The oldest allowed version of uvicorn, and the requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = [each for each in project["dependencies"] if each.startswith("uvicorn")]
    oldest = re.search(r">=([0-9.]+)", requirement)
    assert oldest is not None
    return oldest[1], requirement


def run(*module: str, folder: Path | None = None) -> str:
    """Run a Python module in another process, with the packages of ``folder`` before the installed ones."""
    path = [str(each) for each in (folder, ROOT) if each is not None]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(requirement: str, folder: Path) -> None:
    """Install a version of uvicorn into a folder."""
    uv = shutil.which("uv")
    command = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    done = subprocess.run(
        [*command, "install", "--no-deps", "--target", str(folder), requirement],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        pytest.skip(f"{requirement} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")


def test_the_installed_uvicorn_passes():
    assert "all checks passed" in run(CHECKS)


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_oldest_and_newest_allowed_uvicorn_pass(which, tmp_path):
    oldest, requirement = allowed_range()
    install(f"uvicorn=={oldest}" if which == "oldest" else requirement, tmp_path)
    output = run(CHECKS, folder=tmp_path)
    assert "all checks passed" in output
    if which == "oldest":
        assert f"uvicorn {oldest}" in output
    assert "1 passed" in run("pytest", "-n0", "tests/web/test_tls_listener.py", folder=tmp_path)
