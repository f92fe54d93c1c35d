"""The conversion in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.tracker.openvino.background import prepare_in_process
from streamseg.tracker.openvino.prepare import ENCODER, REPORT, STEP, Job, read_report
from streamseg.tracker.predictor import CameraPredictor
from tests.tracker.tracker_scenes import show


def job(model: SAM2Base) -> Job:
    show(model, 0)
    predictor = CameraPredictor(model)
    return Job(predictor.step, None, predictor.bank.shape, 1)


def test_networks_and_report(small: SAM2Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is reported to Intel, which would leave a client id in the home directory."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    parts: list[tuple[str, float]] = []
    prepare_in_process(job(small), tmp_path, lambda *part: parts.append(part))
    assert {path.name for path in tmp_path.iterdir()} >= {ENCODER, STEP, REPORT}
    assert not (tmp_path / "job.pt").exists()
    assert [share for _, share in parts] == sorted(share for _, share in parts)
    report = read_report(tmp_path)
    assert report.keys() == {"encode_1", "track_1", "track_2", "track_4"}
    assert all(timing.error < 1e-3 and timing.openvino_ms > 0 < timing.torch_ms for timing in report.values())
    assert not (home / "intel").exists()


def test_a_failure_says_why(small: SAM2Base, tmp_path: Path) -> None:
    broken = replace(job(small), step=torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 1: .*has no attribute 'side'"):
        prepare_in_process(broken, tmp_path, lambda *part: None)
