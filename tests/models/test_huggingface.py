"""Uses a local server. The library reads its environment at import, so each use is a separate process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamseg.config.load import config_from_mapping
from streamseg.config.relative import model_name_at
from streamseg.models.huggingface import is_model_id
from streamseg.models.registry import is_checkpoint_path, kind_of
from tests.models.hub_server import HubServer, serving

ID = "facebook/sam2.1-hiera-tiny"
CONTENT = b"".join(hashlib.sha256(i.to_bytes(4)).digest() for i in range(50_000))  # 1.6 MB
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    files = {"sam2.1_hiera_tiny.pt": CONTENT, "sam2.1_hiera_t.yaml": b"model: {}\n", "README.md": b"about"}
    with serving(ID, files) as server:
        yield server


@pytest.fixture
def streamseg(tmp_path: Path) -> Run:
    """Runs the command line, with a cache of its own."""

    def run(*arguments: str, endpoint: str = "http://127.0.0.1:9", **more: str) -> subprocess.CompletedProcess[str]:
        cleared = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        environment = cleared | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "127.0.0.1"}
        return subprocess.run(
            [sys.executable, "-m", "streamseg", *arguments],
            env=environment | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def resolve(tmp_path: Path, name: str, config: str | None = None) -> list[str]:
    """Resolve the setting in a separate process, without a network; return name, config and checkpoint."""
    script = f"""
from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError
from streamseg.models import resolve
try:
    found = resolve(ModelConfig(name={name!r}, config={config!r}))
    print(found.name, found.config, found.checkpoint, sep="\\n")
except ModelError as error:
    print(error)
"""
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_model_is_fetched_by_its_id_and_found_without_a_network(
    hub: HubServer, streamseg: Run, tmp_path: Path
) -> None:
    (missing,) = resolve(tmp_path, ID)
    assert f"`streamseg models pull {ID}`" in missing
    done = streamseg("models", "pull", ID, endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.read_bytes() == CONTENT
    assert resolve(tmp_path, ID) == [ID, "configs/sam2.1/sam2.1_hiera_t.yaml", str(path)]
    assert resolve(tmp_path, ID, "sam2_hiera_s.yaml")[1] == "configs/sam2/sam2_hiera_s.yaml"
    shown = streamseg("models", "path", ID)
    assert (shown.returncode, shown.stdout.strip()) == (0, str(path))


def test_a_cut_transfer_is_resumed(hub: HubServer, streamseg: Run) -> None:
    hub.files["sam2.1_hiera_tiny.pt"] = content = 8 * CONTENT  # the library keeps pieces of 10 MiB
    hub.cuts = [11_000_000]
    done = streamseg("models", "pull", ID, endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == content
    assert any(range_ and not range_.startswith("bytes=0-") for _, _, range_ in hub.asked), hub.asked


def test_content_with_a_wrong_digest_is_deleted(hub: HubServer, streamseg: Run, tmp_path: Path) -> None:
    hub.served = {"sam2.1_hiera_tiny.pt": b"x" + CONTENT[1:]}
    done = streamseg("models", "pull", ID, endpoint=hub.url)
    assert done.returncode != 0
    assert "its sha256 is not" in done.stderr
    assert f"`streamseg models pull {ID}`" in resolve(tmp_path, ID)[0]
    hub.served = {}
    assert streamseg("models", "pull", ID, endpoint=hub.url).returncode == 0


def test_a_config_comes_with_a_model_that_is_not_metas(streamseg: Run, tmp_path: Path) -> None:
    with serving("me/mine", {"mine.pt": CONTENT, "mine.yaml": b"model: {}\n"}) as hub:
        done = streamseg("models", "pull", "me/mine", endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    _, config, checkpoint = resolve(tmp_path, "me/mine")
    assert Path(config).read_bytes() == b"model: {}\n"
    assert Path(checkpoint).name == "mine.pt"


def test_models_that_cannot_be_fetched(streamseg: Run) -> None:
    with serving("me/mine", {"a.pt": b"a", "b.pt": b"b"}) as hub:
        several = streamseg("models", "pull", "me/mine", endpoint=hub.url)
        unknown = streamseg("models", "pull", "me/other", endpoint=hub.url)
    assert "2 checkpoints (a.pt, b.pt)" in several.stderr.replace("\n", " ")
    assert "me/other cannot be fetched from the Hugging Face Hub" in unknown.stderr.replace("\n", " ")
    assert several.returncode == unknown.returncode != 0
    assert "Traceback" not in several.stderr + unknown.stderr
    mirror = streamseg("models", "pull", "me/mine", "--mirror", "http://127.0.0.1:9")
    assert "HF_ENDPOINT" in mirror.stderr


@pytest.mark.parametrize("name", ["/a/b", "a/b/c", "./a", "a/b.pt", "~/a", "a/", "tiny", "a b/c", "../a"])
def test_other_names_are_not_ids(name: str) -> None:
    assert not is_model_id(name)


def test_an_existing_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_name_at(tmp_path, ID) == ID
    (tmp_path / ID).parent.mkdir()
    (tmp_path / ID).write_bytes(b"a checkpoint without a suffix")
    path = str(tmp_path / ID)
    assert model_name_at(tmp_path, ID) == path
    assert not is_model_id(path)
    assert is_checkpoint_path(path)
    monkeypatch.chdir(tmp_path)
    assert kind_of("me/mine") == "sam2"
    settings = {"streams": {"cam": {"source": "scene:default"}}, "model": {"name": ID}}
    assert config_from_mapping(settings).model.name == path


def test_a_path_in_the_working_directory_does_not_win_over_the_folder_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the rules nor later steps look at the working directory again."""
    (tmp_path / ID).mkdir(parents=True)  # not a file: the rules would refuse it as a checkpoint
    monkeypatch.chdir(tmp_path)
    settings = {"streams": {"cam": {"source": "scene:default"}}, "model": {"name": ID}}
    assert config_from_mapping(settings, base=tmp_path / "etc").model.name == ID
    assert f"`streamseg models pull {ID}`" in resolve(tmp_path, ID)[0]


def test_an_id_in_the_settings_is_not_a_path() -> None:
    settings = {"streams": {"cam": {"source": "scene:default"}}, "model": {"name": ID}}
    assert config_from_mapping(settings).model.name == ID
