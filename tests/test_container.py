"""Dockerfile and compose.yaml against the code: every path, option, port and variable that they name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from streamseg.config.load import load_config
from streamseg.config.schema import Config
from streamseg.service.layout import system_layout
from tests.e2e.daemon_process import wait_for
from tests.test_documents import unknown_part
from tests.web.web_daemon import WebDaemon

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/container.yaml"
TOKEN = "0123456789abcdef"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE, CAMERA = COMPOSE["services"]["streamseg"], COMPOSE["services"]["camera"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and the rest, without comments and line ends."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def all_of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("STREAMSEG_TOKEN", TOKEN)
    return load_config(CONFIG)


def variables() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(all_of("ENV"))))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [word for rest in all_of("COPY") if "--from" not in rest for word in rest.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in kept), source
    # The build reads these as well.
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert {"README.md", "LICENSE"} <= set(sources) & set(re.findall(r'"([A-Z]+(?:\.md)?)"', pyproject))


def test_the_package_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    words = [rest.split() for rest in all_of("COPY") if "--from" not in rest]
    for *sources, target in words[:2]:  # of the stage that builds
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tmp_path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert {"streamseg/models/nano.pt", "streamseg/web/static/index.html"} <= set(zipfile.ZipFile(wheel).namelist())


def test_variables_and_volumes_are_those_of_the_service() -> None:
    layout = system_layout("streamseg")
    given = variables()
    assert given["STREAMSEG_MODELS"] == f"{layout.state}/models"
    assert given["HF_HOME"] == f"{layout.state}/huggingface"
    assert given["STATE_DIRECTORY"] == str(layout.state)
    assert given["XDG_CACHE_HOME"] == str(layout.cache.parent)
    assert given["XDG_RUNTIME_DIR"] == str(layout.runtime)
    source = "".join(path.read_text() for path in (ROOT / "streamseg").rglob("*.py"))
    for name in ("STREAMSEG_MODELS", "HF_HOME", "STATE_DIRECTORY", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        assert f'"{name}"' in source or name in (ROOT / "docs/models.md").read_text(), name
    assert all_of("VOLUME") == [f"{layout.state} {layout.cache}"]
    mounted = {volume.split(":")[0]: volume.split(":")[1] for volume in SERVICE["volumes"]}
    assert {mounted["state"], mounted["cache"]} == {str(layout.state), str(layout.cache)}
    assert set(COMPOSE["volumes"]) == {"state", "cache"}
    assert mounted[f"./{CONFIG.relative_to(ROOT)}"] == str(layout.config)
    assert any(entry.startswith(f"{layout.runtime}:") for entry in SERVICE["tmpfs"])


def test_the_user_is_not_root_in_any_variant() -> None:
    stages: dict[str, str] = {}
    stage = ""
    for name, rest in instructions():
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages[stage] = stages.get(base, "root")
        elif name == "USER":
            stages[stage] = rest
    assert stages["cpu"] == stages["cuda"] == "streamseg"
    (made,) = re.findall(r"useradd .*?--uid (\d+)", " ".join(all_of("RUN")))
    assert all(f"uid={made}" in entry for entry in SERVICE["tmpfs"] if "uid" in entry)


def test_the_command_exists() -> None:
    (entry,), (command,) = all_of("ENTRYPOINT"), all_of("CMD")
    assert json.loads(entry) == ["streamseg"]
    assert unknown_part(" ".join(json.loads(command))) is None
    assert json.loads(command)[1] == str(system_layout("streamseg").config)
    assert any(rest.split()[-1] == json.loads(command)[1] for rest in all_of("COPY"))


def test_ports_are_those_that_the_configuration_listens_on(config: Config) -> None:
    assert config.http.listen is not None
    listens = {config.http.listen.rpartition(":")[2], config.publish.endpoints[0].rpartition(":")[2]}
    assert set(all_of("EXPOSE")[0].split()) == listens
    for published in SERVICE["ports"]:
        address, outside, inside = published.split(":")
        assert address == "127.0.0.1"
        assert outside == inside
        assert inside in listens
    (check,) = all_of("HEALTHCHECK")
    assert f"http://127.0.0.1:{config.http.listen.rpartition(':')[2]}/readyz" in check
    assert set(SERVICE["environment"]) == set(re.findall(r"\$\{(\w+)\}", CONFIG.read_text()))


def test_compose_names_targets_services_and_files_that_exist(config: Config) -> None:
    targets = {rest.partition(" AS ")[2] for rest in all_of("FROM")}
    assert {service["build"]["target"] for service in COMPOSE["services"].values()} <= targets
    assert set(SERVICE["depends_on"]) <= set(COMPOSE["services"])
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source
    (stream,) = config.streams.values()
    address = urlsplit(stream.source)
    assert address.hostname in COMPOSE["services"]
    assert f":{address.port}" in " ".join(CAMERA["command"])
    assert f":{address.port}/" in CAMERA["healthcheck"]["test"][-1]
    script = CAMERA["entrypoint"][-1]
    mount = next(volume.split(":") for volume in CAMERA["volumes"])
    assert (ROOT / mount[0] / Path(script).relative_to(mount[1])).is_file()


@pytest.mark.slow
def test_the_camera_and_the_daemon_run_as_compose_starts_them(tmp_path: Path) -> None:
    """Both on this machine, with their options; only the addresses differ."""
    script = ROOT / "examples" / Path(CAMERA["entrypoint"][-1]).name
    options = [{"0.0.0.0:8090": "127.0.0.1:0"}.get(word, word) for word in CAMERA["command"]]
    with subprocess.Popen([sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True) as camera:
        assert camera.stdout is not None
        address = camera.stdout.readline().strip()
        assert urlsplit(address).path == "/camera.mjpg"
        check = CAMERA["healthcheck"]["test"][1:]
        check = [sys.executable, *check[1:-1], check[-1].replace("8090", str(urlsplit(address).port))]
        subprocess.run(check, check=True, timeout=60)
        running = WebDaemon(tmp_path, {"door": {"source": address}}, model="color", token=TOKEN, hosts=["streamseg"])
        try:
            running.wait_ready()
            (command,) = re.findall(r"CMD (\[.*\])", all_of("HEALTHCHECK")[0])
            words = json.loads(command)
            health = [sys.executable, *words[1:-1], words[-1].replace("http://127.0.0.1:8080/", running.url)]
            subprocess.run(health, check=True, timeout=60)
            bearer = {"Authorization": f"Bearer {TOKEN}"}

            def streams() -> bytes:
                return running.ask("GET", "/v1/streams", headers=bearer)[2]

            wait_for(lambda: b'"streaming"' in streams(), 30, "pictures", running.alive)
        finally:
            running.close()
            camera.terminate()


def builder() -> list[str] | None:
    """The command of a builder that works on this machine."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return [name, "build"]
    return None


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_image_builds(target: str) -> None:
    if (command := builder()) is None:
        pytest.skip("neither docker nor podman works here")
    subprocess.run([*command, "--target", target, str(ROOT)], check=True, timeout=3600)
