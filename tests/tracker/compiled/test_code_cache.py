from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from streamseg.tracker import torch_private
from streamseg.tracker.compiled.code_cache import CompiledFunction, FunctionCache, fingerprint
from streamseg.tracker.compiled.compile import _AheadOfTime
from streamseg.tracker.compiled.library import PARTIAL, install_library
from streamseg.tracker.sam2.memory_bank import NEVER, BankShape, MemoryBank
from streamseg.tracker.sam2.step import TrackStep
from tests.made_once import SharedFolders

needs_libraries = pytest.mark.skipif(
    not torch_private.HAS_LIBRARIES, reason=f"torch {torch.__version__} makes no libraries that take their weights"
)
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


def remember(bank: MemoryBank, lanes: Tensor) -> Out:
    """Reads and writes a bank."""
    bank.ring_frame[lanes] = lanes[:, None]
    return Out(bank.ring_frame[lanes], bank.features.float().sum() + bank.ring_frame.sum())


@pytest.fixture(scope="module")
def library(torch_cache: Path, shared_folders: SharedFolders) -> Path:
    """Holds ``run``, compiled for a weight of 4 x 4 and rows of ``[3, 4]``."""

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
            patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(torch_cache))
            module, x = Scaled(2.0), torch.randn(3, 4)
            assert is_right(kept(folder).compile("run", run, (module, x), "library")(module, x), module, x)

    return shared_folders.filled("library", fill)


@pytest.fixture(
    params=[
        pytest.param("library", marks=[needs_libraries, pytest.mark.slow]),
        pytest.param("torch", marks=needs_saved_functions),
    ]
)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same, in either way, for one test."""
    if request.param == "library":
        shutil.copytree(request.getfixturevalue("library"), tmp_path, dirs_exist_ok=True)
    else:
        module, x = Scaled(2.0), torch.randn(3, 4)
        assert is_right(kept(tmp_path).compile("run", run, (module, x), "torch")(module, x), module, x)
    return tmp_path


def load(folder: Path, *inputs: object) -> CompiledFunction:
    found = kept(folder).load("run", run, inputs)
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
    assert kept(cache).load("run", run, (module, torch.randn(2, 4))) is None
    assert FunctionCache(cache, "other kind").load("run", run, (module, x)) is None
    assert kept(cache).load("another", run, (module, x)) is None


@pytest.mark.slow
@needs_libraries
def test_weights_of_a_library_are_the_module_s_own(library: Path) -> None:
    module, x = Scaled(2.0), torch.randn(3, 4)
    function = load(library, module, x)
    module.linear.weight.zero_()
    module.linear.bias.fill_(7)
    module.single.fill_(3)
    module.plain.fill_(2)
    assert is_right(function(module, x), module, x)
    assert not function.guard_check(Scaled(2.0), x)


@pytest.mark.slow
@needs_libraries
def test_a_library_takes_a_bank_of_any_number_of_lanes(tmp_path: Path) -> None:
    bank = MemoryBank(BankShape(tokens=4, memory_dim=2, pointer_dim=8), 3, torch.device("cpu"))
    lanes = torch.tensor([2, 1])
    function = kept(tmp_path).compile("run", remember, (bank, lanes), "library")
    for given in (bank, bank.grown(7)):
        assert function.guard_check(given, lanes)
        expected = remember(given.grown(given.lanes), lanes)
        out = function(given, lanes)
        assert torch.equal(out.scaled, expected.scaled)
        assert torch.equal(out.total, expected.total)
        assert given.ring_frame[:3, 0].tolist() == [NEVER, 1, 2]
    other = MemoryBank(BankShape(tokens=5, memory_dim=2, pointer_dim=8), 3, torch.device("cpu"))
    assert not function.guard_check(other, lanes)


@pytest.mark.slow
@needs_libraries
def test_kept_libraries_take_neither_torch_s_compiler_nor_a_c_compiler(tmp_path: Path, library: Path) -> None:
    """In a process of its own, with nothing on the PATH and an empty folder for temporary files."""
    module, x = Scaled(2.0), torch.randn(3, 4)
    torch.save((module.state_dict(), x, run(module, x).scaled), tmp_path / "expected")
    (tmp_path / "empty").mkdir()
    script = f"""
import sys, pathlib, torch
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.tracker.compiled.test_code_cache import Scaled, load
state, x, expected = torch.load({str(tmp_path / "expected")!r})
module = Scaled(2.0)
module.load_state_dict(state)
with torch.inference_mode():
    function = load(pathlib.Path({str(library)!r}), module, x)
    assert torch.allclose(function(module, x).scaled, expected, atol=1e-6)
print(sorted({{"torch._dynamo", "torch._inductor"}} & set(sys.modules)))
"""
    environment = os.environ | {"PATH": str(tmp_path / "empty"), "TMPDIR": str(tmp_path / "empty")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert list((tmp_path / "empty").iterdir()) == []


def test_other_inputs_are_served_slowly_and_logged(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, x, other = Scaled(2.0), torch.randn(3, 4), torch.randn(2, 4)
    ahead = _AheadOfTime("run", load(cache, module, x), lambda: run)
    assert is_right(ahead(module, x), module, x)
    assert "in the middle" not in caplog.text
    with caplog.at_level(logging.WARNING):
        assert is_right(ahead(module, other), module, other)
    assert "in the middle of a stream" in caplog.text


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x80\x04cstreamseg.gone\nThing\n."])
def test_a_file_that_cannot_be_read_is_no_error(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "run").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert kept(tmp_path).load("run", run, ()) is None
    assert "compiled again" in caplog.text


@pytest.mark.slow
@needs_libraries
def test_a_file_gives_way_to_a_library(tmp_path: Path, library: Path) -> None:
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "run").write_bytes(b"nothing of the kind")
    install_library(library / "kind" / "run", tmp_path / "kind" / "run")
    inputs = (Scaled(2.0), torch.randn(3, 4))
    assert is_right(load(tmp_path, *inputs)(*inputs), *inputs)


@needs_saved_functions
def test_what_is_kept_is_this_user_s_alone_whatever_others_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    inputs = (Scaled(2.0), torch.randn(3, 4))
    before = os.umask(0o002)
    try:
        FunctionCache.of("kind").compile("run", run, inputs, "torch")
    finally:
        os.umask(before)
    assert FunctionCache.of("kind").load("run", run, inputs) is not None


@needs_saved_functions
def test_what_killed_processes_left_goes(tmp_path: Path) -> None:
    old, young = tmp_path / "kind" / f"{PARTIAL}old", tmp_path / "kind" / f"{PARTIAL}young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (1_000_000, 1_000_000))
    kept(tmp_path).compile("run", run, (Scaled(2.0), torch.randn(3, 4)), "torch")
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.slow
@needs_libraries
@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(path.read_bytes()[:1000]), Path.unlink])
def test_an_incomplete_library_is_rebuilt(
    tmp_path: Path, library: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    inputs = (Scaled(2.0), torch.randn(3, 4))
    shutil.copytree(library, tmp_path, dirs_exist_ok=True)
    [shared_object] = (tmp_path / "kind" / "run").rglob("*.so")
    spoil(shared_object)
    with caplog.at_level(logging.WARNING):
        assert kept(tmp_path).load("run", run, inputs) is None
    assert "compiled again" in caplog.text
    install_library(library / "kind" / "run", tmp_path / "kind" / "run")
    assert is_right(load(tmp_path, *inputs)(*inputs), *inputs)
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["run"]


@needs_saved_functions
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kind").write_text("a file")
    inputs = (Scaled(2.0), torch.randn(3, 4))
    with caplog.at_level(logging.WARNING):
        function = kept(tmp_path).compile("run", run, inputs, "torch")
    assert "not cached for the next start" in caplog.text
    assert is_right(function(*inputs), *inputs)


@needs_saved_functions
def test_a_folder_that_may_not_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do everything
    inputs = (Scaled(2.0), torch.randn(3, 4))
    with caplog.at_level(logging.WARNING):
        function = kept(tmp_path).compile("run", run, inputs, "torch")
    assert "is not writable" in caplog.text
    assert is_right(function(*inputs), *inputs)
    assert list((tmp_path / "kind").iterdir()) == []


@needs_saved_functions
def test_only_the_kinds_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for age in range(10):
        folder = tmp_path / f"kind{age}"
        folder.mkdir()
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    FunctionCache(tmp_path, "new").compile("run", run, (Scaled(2.0), torch.randn(3, 4)), "torch")
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
        assert FunctionCache.of("kind").load("run", run, ()) is None
    assert "other users can write" in caplog.text
    assert "is unusable" not in caplog.text


def test_nothing_is_kept_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert FunctionCache.of("kind").load("run", run, ()) is None


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
