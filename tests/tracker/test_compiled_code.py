from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from streamseg.tracker.compile import _Ahead
from streamseg.tracker.compiled_code import KeptFunctions, compile_ahead, fingerprint
from streamseg.tracker.step import TrackStep

CPU = torch.device("cpu")


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.linear(x)
        return scaled


def run(module: Scaled, x: Tensor) -> Tensor:
    result: Tensor = module(x)
    return result


@pytest.fixture(autouse=True)
def _inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))


def test_a_function_is_saved_loaded_and_given_other_weights(tmp_path: Path) -> None:
    with torch.inference_mode():
        before, after, x = Scaled(2.0), Scaled(2.0), torch.randn(3, 4)
        KeptFunctions(tmp_path, "kind").save("run", compile_ahead(run, (before, x), CPU))
        loaded = KeptFunctions(tmp_path, "kind").load("run", (before, x))
        assert loaded is not None
        for module in (before, after):
            assert torch.allclose(loaded(module, x), module(x), atol=1e-6)
        assert not loaded.guard_check(after, torch.randn(2, 4))
        assert KeptFunctions(tmp_path, "kind").load("run", (before, torch.randn(2, 4))) is None
        assert KeptFunctions(tmp_path, "other kind").load("run", (before, x)) is None
        assert KeptFunctions(tmp_path, "kind").load("another", (before, x)) is None


def test_other_inputs_are_served_slowly_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with torch.inference_mode():
        module, x, other = Scaled(2.0), torch.randn(3, 4), torch.randn(2, 4)
        ahead = _Ahead("run", compile_ahead(run, (module, x), CPU), run)
        assert torch.allclose(ahead(module, x), module(x), atol=1e-6)
        assert "in the middle" not in caplog.text
        with caplog.at_level(logging.WARNING):
            assert torch.equal(ahead(module, other), module(other))
        assert "in the middle of a stream" in caplog.text


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x80\x04cstreamseg.gone\nThing\n."])
def test_a_file_that_cannot_be_read_is_no_error(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "run").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert KeptFunctions(tmp_path, "kind").load("run", ()) is None
    assert "made anew" in caplog.text


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kind").write_text("a file")
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        KeptFunctions(tmp_path, "kind").save("run", compile_ahead(run, (Scaled(2.0), torch.randn(3, 4)), CPU))
    assert "not kept for the next start" in caplog.text


def test_only_the_kinds_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for age in range(10):
        folder = tmp_path / f"kind{age}"
        folder.mkdir()
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    with torch.inference_mode():
        KeptFunctions(tmp_path, "new").save("run", compile_ahead(run, (Scaled(2.0), torch.randn(3, 4)), CPU))
    assert {folder.name for folder in tmp_path.iterdir()} == {"torch", "new", *(f"kind{age}" for age in range(6))}


def test_a_cache_that_may_only_be_read_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(path)

    with torch.inference_mode():
        inputs = (Scaled(2.0), torch.randn(3, 4))
        KeptFunctions(tmp_path, "kind").save("run", compile_ahead(run, inputs, CPU))
        monkeypatch.setattr(os, "utime", refuse)  # root may do everything
        assert KeptFunctions(tmp_path, "kind").load("run", inputs) is not None


@pytest.mark.parametrize("folder", ["", "streamseg", "streamseg/kind"])
def test_code_that_others_could_have_written_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "streamseg" / "kind").mkdir(parents=True)
    (tmp_path / "streamseg" / "kind" / "run").write_bytes(b"nothing that can be read")
    (tmp_path / folder).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert KeptFunctions.of("kind").load("run", ()) is None
    assert "others may write" in caplog.text
    assert "cannot be used" not in caplog.text


def test_nothing_is_kept_where_nobody_said_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert KeptFunctions.of("kind").load("run", ()) is None


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
