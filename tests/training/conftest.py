from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]

# The trainer is no part of the package: it is run from a checkout.
sys.path.insert(0, str(REPOSITORY))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # Small tensors: two threads on a busy machine wait for each other more than they compute.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
