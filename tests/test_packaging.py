"""What is built and released: one version, and nothing left out of the sdist."""

import re
import tomllib
from pathlib import Path

from streamseg import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "streamseg/__init__.py"


def test_the_changelog_has_the_version():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert __version__ in versions or ".dev" in __version__


def test_the_sdist_has_every_folder():
    included = {entry.strip("/") for entry in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    folders = {"streamseg", "configs", "examples", "tests", "bench", "training", "systemd", "docs"}
    assert folders <= included
