"""The conversion in a process of its own, as the worker runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sam2.modeling.sam2_base import SAM2Base

from streamseg.tracker.background import BackgroundProcess
from streamseg.tracker.openvino.network import Target
from streamseg.tracker.openvino.prepare import ENCODER, REPORT, Job, prepare, read_report, step_sizes
from streamseg.tracker.predictor import CameraPredictor
from tests.tracker.tracker_scenes import show


def test_networks_and_report(small: SAM2Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is reported to Intel, which would leave a client id in the home directory."""
    home, folder = tmp_path / "home", tmp_path / "networks"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    show(small, 0)
    predictor = CameraPredictor(small)
    shape = predictor.bank.shape
    parts: list[tuple[str, float]] = []
    BackgroundProcess("normal").run(
        prepare, Job(predictor.step, shape, Target(None, threads=1)), folder, lambda *part: parts.append(part)
    )
    files = {size.file for size in (ENCODER, *step_sizes(shape))}
    assert {path.name for path in folder.iterdir()} == {REPORT, *files}
    assert [share for _, share in parts] == sorted(share for _, share in parts)
    report = read_report(folder)
    assert report.digests.keys() == files
    assert report.timings.keys() == {"encode_1", "track_1", "track_2", "track_3", "track_4"}
    assert all(timing.error < 1e-3 and timing.openvino_ms > 0 < timing.torch_ms for timing in report.timings.values())
    assert not (home / "intel").exists()
