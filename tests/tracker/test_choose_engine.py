from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError
from streamseg.tracker import choose_engine as choosing
from streamseg.tracker.choose_engine import choose_engine
from streamseg.tracker.compiled.compile import CompiledEngine
from streamseg.tracker.engine import Engine
from streamseg.tracker.openvino.engine import OpenVinoEngine

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def kind(device: torch.device = CPU, dtype: torch.dtype = torch.float32, **settings: str) -> object:
    found = choose_engine(ModelConfig(**settings), device, dtype, "weights")  # type: ignore[arg-type]
    return (found.func, found.keywords["wait"]) if isinstance(found, partial) else found


def test_openvino_is_chosen_on_a_cpu() -> None:
    assert kind() == kind(dtype=torch.bfloat16) == (OpenVinoEngine, False)
    assert kind(engine="openvino") == (OpenVinoEngine, True)


def test_torch_is_chosen_where_openvino_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind(engine="torch") is kind(dtype=torch.float16) is Engine
    assert kind(CUDA) == (CompiledEngine, False)
    assert kind(CUDA, compile="on") == (CompiledEngine, True)
    assert kind(CUDA, compile="off") is Engine
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: None)
    assert kind() is Engine


def test_a_named_engine_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"the model runs on cuda:0: set model\.device to cpu"):
        kind(CUDA, engine="openvino")
    with pytest.raises(ModelError, match=r"model\.dtype is float16"):
        kind(dtype=torch.float16, engine="openvino")
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed: pip install openvino"):
        kind(engine="openvino")


def on(name: str, dtype: torch.dtype = torch.float32, **settings: str) -> object:
    return choose_engine(ModelConfig(device=name, **settings), CPU, dtype, "weights")  # type: ignore[arg-type]


def test_a_missing_intel_device_is_an_error() -> None:
    """OpenVINO finds none on a machine without one; its CPU stands for a device that is there."""
    import openvino

    for name in ("gpu", "gpu:1", "npu"):
        wanted = name.upper().replace(":", ".")
        if any(found.startswith(wanted[:3]) for found in openvino.Core().available_devices):
            pytest.skip(f"this machine has a {name}")
        with pytest.raises(
            ModelError, match=rf"model\.device is {name}, but OpenVINO finds no {wanted} here, only CPU"
        ):
            on(name)
    with pytest.raises(ModelError, match=r"model\.device is gpu, but model\.engine is torch: set it to auto"):
        on("gpu", engine="torch")
    with pytest.raises(ModelError, match=r"model\.device is gpu, but model\.compile is on: set it to auto"):
        on("gpu", compile="on")
    with pytest.raises(ModelError, match=r"model\.device is gpu, but model\.dtype is float16"):
        on("gpu", torch.float16)


def test_an_available_intel_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine with one finds, from a core that says so."""
    for found, named in ((["CPU", "GPU"], "gpu"), (["CPU", "GPU"], "gpu:0"), (["CPU", "GPU.0", "GPU.1"], "gpu:1")):
        monkeypatch.setattr("openvino.Core", lambda found=found: SimpleNamespace(available_devices=found))
        chosen = on(named)
        assert isinstance(chosen, partial)
        assert chosen.keywords["device"] == named.upper().replace(":", ".")
    with pytest.raises(ModelError, match=r"OpenVINO finds no GPU\.2 here, only CPU, GPU\.0, GPU\.1"):
        on("gpu:2")


BROKEN = {
    "its import fails": "raise OSError('libopenvino.so: cannot open shared object file')",
    "its core fails": "class Core:\n    def __init__(self):\n        raise RuntimeError('no plugins.xml')",
    "it cannot use the CPU": "class Core:\n    available_devices = ['GPU']",
    "it is an empty folder": "",
}


@pytest.fixture(params=BROKEN)
def broken_openvino(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name that does not work comes first."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(BROKEN[request.param])
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("broken_openvino")
def test_auto_is_torch_if_openvino_does_not_load(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert kind() is Engine
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "torch runs the model: OpenVINO is installed but does not load" in record.getMessage()


@pytest.mark.usefixtures("broken_openvino")
def test_openvino_that_does_not_load_is_an_error_if_it_is_named() -> None:
    with pytest.raises(ModelError, match=r"does not load .*: pip install .*, or set model\.engine to torch"):
        kind(engine="openvino")


@pytest.mark.usefixtures("broken_openvino")
def test_openvino_is_not_loaded_for_torch(caplog: pytest.LogCaptureFixture) -> None:
    assert kind(engine="torch") is Engine
    assert not caplog.records
