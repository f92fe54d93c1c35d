"""Names that users' programs, model files and units refer to. They survive every move inside the package."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROCESSES = ("capture", "worker", "publish", "control", "web", "record", "prompters")
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


ERRORS = {
    "StreamsegError": ("Exception", 1),
    "ConfigError": ("StreamsegError", 2),
    "AddressNotHereError": ("ConfigError", 6),
    "ModelError": ("StreamsegError", 3),
    "PromptError": ("StreamsegError", 1),
    "FrameExpiredError": ("PromptError", 1),
    "NothingToUndoError": ("PromptError", 1),
    "SourceError": ("StreamsegError", 4),
    "SourceOpenError": ("SourceError", 4),
    "SourceAuthError": ("SourceOpenError", 4),
    "SourceNotFoundError": ("SourceOpenError", 4),
    "SourceStalledError": ("SourceError", 4),
    "SourceDisconnectedError": ("SourceError", 4),
    "EndOfStreamError": ("SourceError", 4),
    "RingError": ("StreamsegError", 1),
    "FrameTooLargeError": ("RingError", 1),
    "RingClosedError": ("RingError", 1),
    "RingFullError": ("RingError", 1),
    "ProtocolError": ("StreamsegError", 1),
    "SubscribeTimeoutError": ("StreamsegError", 1),
    "ControlError": ("StreamsegError", 1),
    "DeviceError": ("StreamsegError", 5),
    "ProcessError": ("StreamsegError", 5),
    "ServiceError": ("StreamsegError", 1),
}
"""Name -> base, exit code of the command line."""


def test_errors_keep_their_names_bases_and_exit_codes() -> None:
    errors = importlib.import_module("streamseg.errors")
    defined = {
        name: (value.__mro__[1].__name__, value.exit_code)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.StreamsegError)
    }
    assert defined.items() >= ERRORS.items()
    assert [name for name in defined if name not in errors.__doc__] == []
    assert issubclass(errors.SubscribeTimeoutError, TimeoutError)
    assert errors.ControlError("BAD_REQUEST", "wrong").exit_code == 2


@pytest.mark.parametrize("name", ["color", "colour", "fixed", "echo", "nano", "tiny", "sam2.1_tiny"])
def test_models_keep_their_names(name: str) -> None:
    assert importlib.import_module("streamseg.models").find(name).kind in ("sam2", "color", "echo")


def test_model_files_of_users_find_the_trunk_at_its_old_address() -> None:
    old = importlib.import_module("streamseg.tracker.efficientnet_lite").EfficientNetLite0
    assert old is importlib.import_module("streamseg.tracker.sam2.efficientnet_lite").EfficientNetLite0


def test_a_model_file_of_a_user_with_the_old_address_is_built(tmp_path: Path) -> None:
    from streamseg.tracker.sam2.build import build_model

    models = ROOT / "streamseg" / "models"
    own = tmp_path / "own.yaml"
    now, before = "streamseg.tracker.sam2.efficientnet_lite.", "streamseg.tracker.efficientnet_lite."
    own.write_text((models / "nano.yaml").read_text().replace(now, before))
    assert before in own.read_text()
    model = build_model(own, checkpoint=models / "nano.pt")
    assert type(model.image_encoder.trunk).__name__ == "EfficientNetLite0"


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_is_one_folder_with_a_main(process: str) -> None:
    assert callable(importlib.import_module(f"streamseg.{process}.process").main)


def test_what_the_supervisor_spawns_can_be_imported_by_name() -> None:
    """Modules are named in strings, which no type checker follows."""
    table = (ROOT / "streamseg" / "daemon" / "process_table.py").read_text()
    named = set(re.findall(r'"(streamseg(?:\.\w+)+)"', table))
    assert named == {f"streamseg.{process}.process" for process in PROCESSES}
    assert callable(importlib.import_module("streamseg.daemon.run_child").run_child)


@pytest.mark.parametrize(("unit", "instance", "runtime"), [("", "streamseg", ""), ("@", "%i", "-%i")])
def test_the_units_keep_their_paths(unit: str, instance: str, runtime: str) -> None:
    lines = (ROOT / "systemd" / f"streamseg{unit}.service").read_text().splitlines()
    assert {
        f"ExecStart=/opt/streamseg/bin/streamseg run /etc/streamseg/{instance}.yaml",
        "EnvironmentFile=-/etc/streamseg/environment",
        f"RuntimeDirectory=streamseg{runtime}",
        "StateDirectory=streamseg",
        "CacheDirectory=streamseg",
        "User=streamseg",
    } <= set(lines)
    (environment,) = (line.removeprefix("Environment=").split() for line in lines if line.startswith("Environment="))
    assert {
        f"XDG_RUNTIME_DIR=%t/streamseg{runtime}",
        "STREAMSEG_MODELS=/var/lib/streamseg/models",
        "XDG_CACHE_HOME=/var/cache",
    } <= set(environment)


def test_checkpoints_of_the_trainer_keep_their_form(tmp_path: Path) -> None:
    """A run that was started before a change can be resumed after it, and its export is a model."""
    import torch

    from streamseg.tracker.sam2.build import build_model
    from training.checkpoints import load_state, save_atomically
    from training.trainer import Trainer, export_weights

    trainer = Trainer(build_model("nano"), torch.device("cpu"), 1e-3)
    assert set(trainer.state()) == {"model", "average", "optimizer", "average_steps"}
    first = {name: part for name, part in trainer.state().items() if name != "average_steps"} | {"step": 7}
    save_atomically(first, tmp_path / "last.pt")  # as the first version of the trainer wrote it
    other = Trainer(build_model("nano", seed=1), torch.device("cpu"), 1e-3)
    other.load(load_state(tmp_path / "last.pt"))
    assert other.steps == 7
    export_weights(other.average.state_dict(), tmp_path / "nano.pt")
    exported, shipped = (
        torch.load(path, weights_only=True)
        for path in (tmp_path / "nano.pt", ROOT / "streamseg" / "models" / "nano.pt")
    )
    assert exported.keys() == shipped.keys() == {"model"}
    assert {name: part.shape for name, part in exported["model"].items()} == {
        name: part.shape for name, part in shipped["model"].items()
    }


def test_the_gpu_suite_names_tests_and_benches_that_exist() -> None:
    text = (ROOT / "bench" / "gpu_suite.sh").read_text()
    named = set(re.findall(r"\b(?:tests|bench)/[\w/]+\.py", text))
    named |= {f"bench/{script}.py" for script in re.findall(r'\bbench \S+ \S+ "[^"]+" (\w+)', text)}
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
