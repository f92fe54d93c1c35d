"""The distribution streamseg-client: built, installed into empty environments, beside streamseg and without it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "clients" / "python"
SUBSCRIBE = "import streamseg.client, streamseg.protocol.control, streamseg.errors"
DAEMON = "import streamseg.client, streamseg.ipc.messages, streamseg.config.schema"  # without heavy packages
MAX_MB, MAX_MB_WITHOUT_NUMPY = 85, 12


def settings(file: Path) -> dict:
    return tomllib.loads(file.read_text())


def test_it_needs_no_more_than_streamseg() -> None:
    daemon, client = settings(ROOT / "pyproject.toml")["project"], settings(CLIENT / "pyproject.toml")["project"]
    assert set(client["dependencies"]) < set(daemon["dependencies"])
    assert set(client["optional-dependencies"]["image"]) < set(daemon["dependencies"])
    assert set(client["optional-dependencies"]["fast"]) < set(daemon["optional-dependencies"]["fast"])
    assert client["requires-python"] == daemon["requires-python"]
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_has_every_module_that_its_modules_import() -> None:
    shipped = settings(CLIENT / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    listed = {f"/{name}" for name in shipped if name.startswith("streamseg/")}
    sdist = set(settings(CLIENT / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    assert listed < sdist
    files = [file for name in shipped for file in sources(CLIENT / name)]
    assert len(files) > 25
    modules = {file.relative_to(CLIENT).with_suffix("").as_posix().replace("/", ".") for file in files}
    modules |= {module.removesuffix(".__init__") for module in modules}
    needed = {name for file in files for name in imported(file) if name.startswith("streamseg")}
    assert sorted(needed - modules) == []


def sources(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []


def imported(file: Path) -> set[str]:
    """Modules that a file imports anywhere, also within functions."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, the client's from its sdist."""
    if shutil.which("uv") is None:
        pytest.skip("needs uv")
    folder = tmp_path_factory.mktemp("dist")
    run("uv", "build", "-q", "--out-dir", folder / "client", CLIENT)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "daemon", cwd=ROOT)
    (client,), (daemon,) = (sorted((folder / name).glob("*.whl")) for name in ("client", "daemon"))
    return {"client": client, "daemon": daemon}


class Environment:
    """An empty virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self.packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        run("uv", "venv", "-q", "--python", sys.executable, folder)

    def install(self, *what: str | Path) -> None:
        run("uv", "pip", "install", "-q", "--no-compile-bytecode", "--python", self.python, *what)

    def remove(self, name: str) -> None:
        run("uv", "pip", "uninstall", "-q", "--python", self.python, name)

    def fails(self, script: str) -> str:
        """Run a script outside the checkout; return its last line of error, empty if it worked."""
        done = subprocess.run(
            [self.python, "-c", script], cwd="/", capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin"}
        )
        return done.stderr.strip().rpartition("\n")[2]

    def megabytes(self, *names: str) -> float:
        files = (file for name in names for folder in self.packages.glob(name) for file in folder.rglob("*"))
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def run(*command: str | Path, cwd: Path | None = None) -> None:
    # uv refuses its own option next to the variable, whatever that says.
    environment = {name: value for name, value in os.environ.items() if name != "UV_COMPILE_BYTECODE"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_versions_are_one(wheels: dict[str, Path]) -> None:
    versions = {name: wheel.name.split("-")[1] for name, wheel in wheels.items()}
    assert set(versions.values()) == {distribution("streamseg").version}


@pytest.mark.slow
def test_an_empty_environment_gets_a_small_client(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "alone")
    environment.install(wheels["client"])
    assert environment.fails(SUBSCRIBE) == ""
    total = environment.megabytes("*")
    assert total <= MAX_MB
    assert total - environment.megabytes("numpy", "numpy.libs", "numpy-*") <= MAX_MB_WITHOUT_NUMPY
    environment.install(f"{wheels['client']}[image]")
    jpeg = tmp_path / "picture.jpg"
    cv2.imwrite(str(jpeg), np.zeros((30, 50, 3), np.uint8))
    show = f"from streamseg.client.jpeg import *; d = open({str(jpeg)!r}, 'rb').read(); decode_jpeg(d, jpeg_size(d))"
    assert environment.fails(show) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "removed", "script"),
    [("client", "daemon", "streamseg", SUBSCRIBE), ("daemon", "client", "streamseg-client", DAEMON)],
)
def test_both_install_in_either_order_and_removing_one_leaves_the_other_whole(
    wheels: dict[str, Path], tmp_path: Path, first: str, second: str, removed: str, script: str
) -> None:
    environment = Environment(tmp_path / "both")
    environment.install(*settings(CLIENT / "pyproject.toml")["project"]["dependencies"])
    for name in (first, second):
        environment.install("--no-deps", wheels[name])
    assert environment.fails(DAEMON) == ""
    assert environment.fails("import streamseg.client as c; assert '_streamseg_client' not in c.__file__") == ""
    environment.remove(removed)
    assert environment.fails(script) == ""
    other = ({"streamseg", "streamseg-client"} - {removed}).pop()
    environment.remove(other)
    assert environment.fails(SUBSCRIBE) == "ModuleNotFoundError: No module named 'streamseg'"
