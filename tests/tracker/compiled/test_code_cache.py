from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from streamseg.tracker import torch_private
from streamseg.tracker.compiled.code_cache import FunctionCache, fingerprint
from streamseg.tracker.compiled.functions import SizedFunction, _AheadOfTime
from streamseg.tracker.sam2.step import TrackStep
from streamseg.tracker.torch_private import SavableFunction
from tests.made_once import SharedFolders

needs_saved_functions = pytest.mark.skipif(
    not torch_private.HAS_SAVED_FUNCTIONS, reason=f"torch {torch.__version__} cannot save compiled functions"
)


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(4, 4)
        # What a compiler would like to know beforehand: weights of one number, and of the same number everywhere.
        self.single = nn.Parameter(torch.rand(1))
        self.plain = nn.Parameter(torch.full((64, 4), float(torch.rand(()))))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.linear(x) * self.single + self.plain.sum(dim=0)
        return scaled


class Out(NamedTuple):
    scaled: Tensor
    total: Tensor


def run(module: Scaled, x: Tensor) -> Out:
    result: Tensor = module(x)
    return Out(result, result.sum())


@pytest.fixture(scope="module")
def saved(torch_cache: Path, shared_folders: SharedFolders, _plain_code: None) -> Path:
    """Holds ``run``, compiled for a weight of 4 x 4 and rows of ``[3, 4]``."""
    if not torch_private.HAS_SAVED_FUNCTIONS:
        pytest.skip(f"torch {torch.__version__} cannot save compiled functions")

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
            patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(torch_cache))
            module, x = Scaled(2.0), torch.randn(3, 4)
            assert is_right(kept(folder).compile("run", run, (module, x))(module, x), module, x)

    return shared_folders.filled("compiled function", fill)


@pytest.fixture
def cache(saved: Path, tmp_path: Path) -> Path:
    """The same for one test."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def load(folder: Path, *inputs: object) -> SavableFunction:
    found = kept(folder).load("run", inputs)
    assert found is not None
    return found


def kept(folder: Path) -> FunctionCache:
    return FunctionCache(folder, "kind")


def is_right(out: Out, module: Scaled, x: Tensor) -> bool:
    return torch.allclose(out.scaled, module(x), atol=1e-6) and torch.allclose(out.total, module(x).sum(), atol=1e-5)


@pytest.fixture(scope="module")
def torch_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: they compile the same few lines again and again."""
    return tmp_path_factory.mktemp("torch")


@pytest.fixture(scope="module", autouse=True)
def _plain_code() -> Iterator[None]:
    """Compile without vector instructions: to find out which there are, torch compiles a program for each kind."""
    import torch._inductor.config  # takes a second

    with torch._inductor.config.patch({"cpp.vec_isa_ok": False}):
        yield


@pytest.fixture(autouse=True)
def _inference(torch_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(torch_cache))
    with torch.inference_mode():
        yield


def test_a_function_is_loaded_and_given_other_weights(cache: Path) -> None:
    x = torch.randn(3, 4)
    for module in (Scaled(2.0), Scaled(2.0)):
        loaded = load(cache, module, x)
        out = loaded(module, x)
        assert isinstance(out, Out)
        assert is_right(out, module, x)
        assert loaded.guard_check(module, torch.randn(3, 4))
        for other in (torch.randn(2, 4), torch.randn(4, 3).t(), x.to(torch.bfloat16)):
            assert not loaded.guard_check(module, other)
    assert kept(cache).load("run", (module, torch.randn(2, 4))) is None
    assert FunctionCache(cache, "other kind").load("run", (module, x)) is None
    assert kept(cache).load("another", (module, x)) is None


def test_other_inputs_are_computed_eagerly_and_logged_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, x, other = Scaled(2.0), torch.randn(3, 4), torch.randn(2, 4)
    ahead = _AheadOfTime(SizedFunction("run", run, ()), load(cache, module, x))
    assert is_right(ahead(module, x), module, x)
    assert "eagerly" not in caplog.text
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert is_right(ahead(module, other), module, other)
    assert caplog.text.count("computed eagerly") == 1


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x80\x04cstreamseg.gone\nThing\n."])
def test_a_file_that_cannot_be_read_is_not_an_error(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "run").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert kept(tmp_path).load("run", ()) is None
    assert "compiled again" in caplog.text


@needs_saved_functions
def test_compiled_code_is_private_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    inputs = (Scaled(2.0), torch.randn(3, 4))
    before = os.umask(0o002)
    try:
        FunctionCache.of("kind").compile("run", run, inputs)
    finally:
        os.umask(before)
    assert FunctionCache.of("kind").load("run", inputs) is not None


@needs_saved_functions
def test_a_folder_that_cannot_be_written_is_not_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kind").write_text("a file")
    inputs = (Scaled(2.0), torch.randn(3, 4))
    with caplog.at_level(logging.WARNING):
        function = kept(tmp_path).compile("run", run, inputs)
    assert "not cached for the next start" in caplog.text
    assert is_right(function(*inputs), *inputs)


@needs_saved_functions
def test_a_folder_that_may_not_be_written_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do everything
    inputs = (Scaled(2.0), torch.randn(3, 4))
    with caplog.at_level(logging.WARNING):
        function = kept(tmp_path).compile("run", run, inputs)
    assert "is not writable" in caplog.text
    assert is_right(function(*inputs), *inputs)
    assert list((tmp_path / "kind").iterdir()) == []


@needs_saved_functions
def test_only_the_kinds_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for age in range(10):
        folder = tmp_path / f"kind{age}"
        folder.mkdir()
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    FunctionCache(tmp_path, "new").compile("run", run, (Scaled(2.0), torch.randn(3, 4)))
    assert {folder.name for folder in tmp_path.iterdir()} == {"new", *(f"kind{age}" for age in range(7))}


def test_a_cache_that_may_only_be_read_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "utime", refuse)  # root may do everything
    inputs = (Scaled(2.0), torch.randn(3, 4))
    assert is_right(load(cache, *inputs)(*inputs), *inputs)


@pytest.mark.parametrize("folder", ["", "streamseg", "streamseg/kind"])
def test_code_that_others_could_have_written_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "streamseg" / "kind").mkdir(parents=True)
    (tmp_path / "streamseg" / "kind" / "run").write_bytes(b"nothing that can be read")
    (tmp_path / folder).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert FunctionCache.of("kind").load("run", ()) is None
    assert "other users can write" in caplog.text
    assert "is unusable" not in caplog.text


def test_nothing_is_kept_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert FunctionCache.of("kind").load("run", ()) is None


def test_the_fingerprint_is_of_everything_but_weights(small: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode():
        assert fingerprint(Scaled(2.0), "a") == fingerprint(Scaled(2.0), "a")
        different = {fingerprint(Scaled(2.0), "a"), fingerprint(Scaled(3.0), "a"), fingerprint(Scaled(2.0), "b")}
        different.add(fingerprint(Scaled(2.0).to(torch.bfloat16), "a"))
        other = Scaled(2.0)
        other.activation, other.table = partial(functional.gelu, approximate="tanh"), {"a": 1}  # type: ignore[assignment]
        different.add(fingerprint(other, "a"))
        other.activation = partial(functional.gelu, approximate="none")  # type: ignore[assignment]
        different.add(fingerprint(other, "a"))
        other.table = {"a": 2}  # type: ignore[assignment]
        different.add(fingerprint(other, "a"))
        step = TrackStep(small, 6)
        different.add(fingerprint(step))
        assert fingerprint(step) == fingerprint(TrackStep(small, 6))
        monkeypatch.setattr(small, "sigmoid_bias_for_mem_enc", -11.0)
        different.add(fingerprint(step))
        monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
        different.add(fingerprint(step))
    assert len(different) == 10
