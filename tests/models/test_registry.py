from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError
from streamseg.models.registry import ALIASES, MODELS, find, models_directory, resolve

WITH_CHECKPOINT = [entry for entry in MODELS.values() if entry.checkpoint is not None]


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("STREAMSEG_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def lay(path: Path, nbytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(nbytes)
    return path


def test_every_entry_is_complete():
    assert len(WITH_CHECKPOINT) == 8
    digests = [entry.checkpoint.sha256 for entry in WITH_CHECKPOINT if entry.checkpoint]
    assert len(set(digests)) == 8
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
    for name, entry in MODELS.items():
        assert entry.name == name
        assert entry.about
    assert all(name in MODELS for name in ALIASES.values())
    assert not set(ALIASES) & set(MODELS)


@pytest.mark.parametrize("entry", WITH_CHECKPOINT, ids=lambda entry: entry.name)
def test_configs_exist_in_sam2(entry):
    assert resources.files("sam2").joinpath(entry.config).is_file()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("tiny", "sam2.1_hiera_tiny"),
        ("base+", "sam2.1_hiera_base_plus"),
        ("SAM2.1-hiera-large", "sam2.1_hiera_large"),
        ("sam2_small", "sam2_hiera_small"),
        ("nano", "nano"),
        ("colour", "color"),
        ("fixed", "echo"),
    ],
)
def test_names_and_aliases_resolve(given, name):
    assert find(given).name == name


@pytest.mark.parametrize(
    ("given", "nearest"), [("sam2.1_hira_tiny", "sam2.1_hiera_tiny"), ("nanno", "nano"), ("fixd", "fixed")]
)
def test_a_wrong_name_gets_the_nearest(given, nearest):
    with pytest.raises(ModelError, match=f"model '{given}' is unknown: did you mean '{nearest}'"):
        resolve(ModelConfig(name=given))


def test_a_name_unlike_any_other_lists_all_names():
    with pytest.raises(ModelError, match=r"expected one of nano, sam2\.1_hiera_tiny"):
        resolve(ModelConfig(name="?"))


def test_an_existing_checkpoint_is_resolved(models):
    entry = MODELS["sam2.1_hiera_tiny"]
    assert entry.checkpoint is not None
    path = lay(models / "sam2.1_hiera_tiny.pt", entry.checkpoint.nbytes)
    model = resolve(ModelConfig(name="tiny"))
    assert (model.name, model.kind, model.checkpoint) == ("sam2.1_hiera_tiny", "sam2", path)
    assert model.config == "configs/sam2.1/sam2.1_hiera_t.yaml"


def test_a_missing_checkpoint_says_how_to_get_it(models):
    with pytest.raises(ModelError) as error:
        resolve(ModelConfig(name="tiny"))
    for needed in (
        str(models / "sam2.1_hiera_tiny.pt"),
        "`streamseg models pull sam2.1_hiera_tiny`",
        "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        "149 MiB",
    ):
        assert needed in str(error.value)


def test_a_truncated_checkpoint_is_refused(models):
    lay(models / "sam2.1_hiera_tiny.pt", 1000)
    with pytest.raises(ModelError, match=r"has 1000 bytes, expected 156008466.*models pull sam2\.1_hiera_tiny"):
        resolve(ModelConfig(name="tiny"))


def test_models_without_a_download_resolve():
    nano = resolve(ModelConfig())
    assert (nano.name, nano.kind) == ("nano", "sam2")
    assert Path(nano.config).name == "nano.yaml"
    assert nano.checkpoint is not None
    assert nano.checkpoint.stat().st_size < 16e6, "it comes with the package, which stays small"
    for name in ("echo", "color"):
        model = resolve(ModelConfig(name=name))
        assert (model.kind, model.config, model.checkpoint) == (name, "", None)


def test_a_config_goes_only_with_a_path():
    with pytest.raises(ModelError, match=r"remove model\.config"):
        resolve(ModelConfig(name="nano", config="sam2.1_hiera_t.yaml"))


@pytest.mark.parametrize(
    "config", ["sam2_hiera_b+.yaml", "configs/sam2/sam2_hiera_b+.yaml", "sam2_hiera_base_plus", "sam2_base+"]
)
def test_an_own_checkpoint_with_a_config_of_sam2(tmp_path, config):
    path = lay(tmp_path / "mine.pt", 10)
    model = resolve(ModelConfig(name=str(path), config=config))
    assert (model.name, model.kind, model.checkpoint) == ("mine", "sam2", path)
    assert model.config == "configs/sam2/sam2_hiera_b+.yaml"


def test_an_own_checkpoint_with_an_own_config(tmp_path, monkeypatch):
    lay(tmp_path / "mine.pt", 10)
    (tmp_path / "mine.yaml").write_text("model: {}\n")
    monkeypatch.chdir(tmp_path)
    model = resolve(ModelConfig(name="mine.pt", config="mine.yaml"))
    assert (model.checkpoint, model.config) == (tmp_path / "mine.pt", str(tmp_path / "mine.yaml"))


def test_metas_file_elsewhere_needs_no_config(tmp_path):
    path = lay(tmp_path / "sam2_hiera_small.pt", 10)
    assert resolve(ModelConfig(name=str(path))).config == "configs/sam2/sam2_hiera_s.yaml"


def test_errors_of_own_checkpoints_name_the_problem(tmp_path):
    path = str(lay(tmp_path / "mine.pt", 10))
    with pytest.raises(ModelError, match=r"set model\.config .* to one of sam2\.1_hiera_t\.yaml"):
        resolve(ModelConfig(name=path))
    with pytest.raises(ModelError, match=r"did you mean 'sam2\.1_hiera_t\.yaml'"):
        resolve(ModelConfig(name=path, config="sam2.1_hiera_tt.yaml"))
    with pytest.raises(ModelError, match="neither a file nor a config of sam2"):
        resolve(ModelConfig(name=path, config="fixed"))
    with pytest.raises(ModelError, match="there is no checkpoint at"):
        resolve(ModelConfig(name=str(tmp_path / "other.pt")))
    with pytest.raises(ModelError, match=r"use the name 'sam2\.1_hiera_tiny'"):
        resolve(ModelConfig(name="sam2.1_hiera_tiny.pt"))


def test_models_directory_follows_the_environment(monkeypatch, tmp_path):
    assert models_directory() == tmp_path / "models"
    monkeypatch.setenv("STREAMSEG_MODELS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models_directory() == tmp_path / "cache" / "streamseg" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_directory() == tmp_path / ".cache" / "streamseg" / "models"


def test_listing_models_loads_no_torch():
    code = "import sys, streamseg.models.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
