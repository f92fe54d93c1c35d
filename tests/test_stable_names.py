"""Names that users' programs, model files and units refer to: they outlive every move inside the package."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROCESSES = ("capture", "worker", "publish", "control", "web")
CLIENT_NAMES = {
    *("AsyncController", "AsyncPairedSubscriber", "AsyncSubscriber", "ControlError", "Controller"),
    *("DaemonStatusMessage", "EventMessage", "FrameMessage", "FramePair", "ImageFrame", "MaskFrame", "Message"),
    *("ObjectInfo", "ObjectMask", "ObjectSnapshot", "ObjectsFrame", "PairedSubscriber", "PromptResult", "Snapshot"),
    *("StatusMessage", "Subscriber", "SubscriberStats"),
}


def test_the_command_is_where_installed_scripts_look() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"streamseg": "streamseg.cli.app:main"}
    assert callable(importlib.import_module("streamseg.cli.app").main)


def test_python_m_streamseg() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamseg", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("streamseg ")


def test_the_client_s_names() -> None:
    client = importlib.import_module("streamseg.client")
    assert set(client.__all__) >= CLIENT_NAMES
    assert all(hasattr(client, name) for name in client.__all__)


def test_errors_are_in_one_module() -> None:
    errors = importlib.import_module("streamseg.errors")
    names = ("StreamsegError", "ConfigError", "ModelError", "PromptError", "ProtocolError", "ControlError")
    assert all(issubclass(getattr(errors, name), errors.StreamsegError) for name in names)


@pytest.mark.parametrize("name", ["color", "colour", "fixed", "echo", "nano", "tiny", "sam2.1_tiny"])
def test_models_keep_their_names(name: str) -> None:
    assert importlib.import_module("streamseg.models").find(name).kind in ("sam2", "color", "echo")


def test_model_files_of_users_find_the_trunk_at_its_old_address() -> None:
    old = importlib.import_module("streamseg.tracker.efficientnet_lite").EfficientNetLite0
    assert old is importlib.import_module("streamseg.tracker.sam2.efficientnet_lite").EfficientNetLite0


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_is_one_folder_with_a_main(process: str) -> None:
    assert callable(importlib.import_module(f"streamseg.{process}.process").main)


def test_the_gpu_suite_names_tests_and_benches_that_exist() -> None:
    text = (ROOT / "bench" / "gpu_suite.sh").read_text()
    named = set(re.findall(r"\b(?:tests|bench)/[\w/]+\.py", text))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
