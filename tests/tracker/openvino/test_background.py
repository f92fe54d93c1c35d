"""The conversion in a process of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
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


class Hangs(torch.nn.Module):
    """A step that waits when the process unpickles it."""

    def __setstate__(self, state: object) -> None:
        select.select([], [], [], 600)


def hanging(model: SAM2Base) -> Job:
    return replace(job(model), step=Hangs())  # type: ignore[arg-type]


def test_one_that_hangs_is_stopped_and_reported(small: SAM2Base, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"the conversion was stopped: it did not end within 0\.5 s"):
        prepare_in_process(hanging(small), tmp_path, lambda *part: None, limit_s=0.5)
    assert not list(tmp_path.iterdir())


STARTS_CONVERSION = """
import sys, torch
from pathlib import Path
from streamseg.tracker.openvino.background import prepare_in_process
job = torch.load(sys.argv[1], weights_only=False)
prepare_in_process(job, Path(sys.argv[2]), lambda *part: print(*part, flush=True))
"""


def test_it_ends_with_the_worker(small: SAM2Base, tmp_path: Path) -> None:
    """The worker is killed in the middle; what is left does not include the job."""
    (tmp_path / "folder").mkdir()
    torch.save(job(small), tmp_path / "input.pt")
    command = [sys.executable, "-c", STARTS_CONVERSION, str(tmp_path / "input.pt"), str(tmp_path / "folder")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            assert "converting the encoder" in worker.stdout.readline()
            (converter,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
            ended = os.pidfd_open(int(converter))
        finally:
            worker.kill()
    try:
        assert select.select([ended], [], [], 60)[0]
    finally:
        os.close(ended)
    assert not (tmp_path / "folder" / "job.pt").exists()
    assert not (tmp_path / "folder" / REPORT).exists()
