from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import openvino
import pytest
import torch

from streamseg.tracker.compiled.code_cache import fingerprint
from streamseg.tracker.engine import Engine, Progress
from streamseg.tracker.openvino.cache import NetworkCache
from streamseg.tracker.openvino.prepare import Job
from streamseg.tracker.sam2.checkpoint import weights_digest
from tests.made_once import SharedFolders
from tests.tracker.openvino.switching_engine import Prepare, SwitchingEngine, prepare_here

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def prepare_once(shared_folders: SharedFolders) -> Prepare:
    """Converts a model in this process if no test has converted the same one; else copies its networks."""

    def prepare(job: Job, folder: Path, progress: Progress) -> None:
        name = fingerprint(
            job.step, job.target.autocast, job.shape, openvino.__version__, weights_digest(job.step.model)
        )
        converted = shared_folders.filled(name, lambda empty: prepare_here(job, empty, progress))
        shutil.copytree(converted, folder, dirs_exist_ok=True)

    return prepare


@pytest.fixture
def switching(prepare_once: Prepare, tmp_path: Path) -> MakeEngine:
    return lambda step, autocast=None: SwitchingEngine(step, autocast, NetworkCache(tmp_path), prepare_once)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield
