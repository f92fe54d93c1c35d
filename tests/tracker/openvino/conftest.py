from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamseg.tracker.engine import Engine
from streamseg.tracker.openvino.cache import NetworkCache
from tests.tracker.openvino.switching_engine import SwitchingEngine

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def network_cache(tmp_path_factory: pytest.TempPathFactory) -> NetworkCache:
    """One for all tests: what one of them converted, the next one loads."""
    return NetworkCache(Path(tmp_path_factory.mktemp("networks")))


@pytest.fixture
def switching(network_cache: NetworkCache) -> MakeEngine:
    return lambda step, autocast=None: SwitchingEngine(step, autocast, network_cache)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield
