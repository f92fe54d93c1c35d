from __future__ import annotations

from functools import partial

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
    found = choose_engine(ModelConfig(**settings), device, dtype)  # type: ignore[arg-type]
    return (found.func, found.keywords["wait"]) if isinstance(found, partial) else found


def test_openvino_is_what_a_cpu_uses() -> None:
    assert kind() == kind(dtype=torch.bfloat16) == (OpenVinoEngine, False)
    assert kind(engine="openvino") == (OpenVinoEngine, True)


def test_torch_where_openvino_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind(engine="torch") is kind(dtype=torch.float16) is Engine
    assert kind(CUDA) is CompiledEngine
    assert kind(CUDA, compile="off") is Engine
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: None)
    assert kind() is Engine


def test_a_named_engine_that_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"the model runs on cuda:0: set model\.device to cpu"):
        kind(CUDA, engine="openvino")
    with pytest.raises(ModelError, match=r"model\.dtype is float16"):
        kind(dtype=torch.float16, engine="openvino")
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed: pip install openvino"):
        kind(engine="openvino")
