"""What is built and released: one version, and nothing left out of the sdist."""

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from streamseg import __version__

ROOT = Path(__file__).resolve().parents[1]
LINK = "clients/python/streamseg"  # to the package
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "streamseg/__init__.py"


def test_the_changelog_has_the_version():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert __version__ in versions or ".dev" in __version__


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Names of the files in the sdist, as `uv build` makes it."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)
    (archive,) = folder.iterdir()
    assert archive.name == f"streamseg-{__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def test_the_sdist_has_every_folder(sdist):
    folders = {"streamseg", "configs", "examples", "tests", "bench", "training", "systemd", "docs", "clients"}
    assert folders <= {name.partition("/")[0] for name in sdist}
    assert {"examples/subscribe.py", "training/train.py", "streamseg/models/nano.pt", ".ci/run", "README.md"} <= sdist


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_the_sdist_has_what_the_repository_has(sdist):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, timeout=60, capture_output=True, text=True)
    left_out = {name for name in tracked.stdout.splitlines() if name not in sdist}
    assert {name for name in left_out if not name.startswith((".github/", ".pre-commit", "uv.lock", LINK))} == set()
    assert not [name for name in sdist if name.startswith("training/run/")]
