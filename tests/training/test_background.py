from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training.progress import describe
from training.run import start_time

SCRIPT = Path(__file__).parents[2] / "training" / "background.sh"


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def _run(command: str, run: Path) -> str:
    environment = {**os.environ, "NANO_RUN": str(run)}
    return subprocess.run([SCRIPT, command], env=environment, check=True, capture_output=True, text=True).stdout


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _wait_until(true: Callable[[], bool]) -> None:
    """A signal takes effect when its process is next scheduled."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pausing_stops_the_processes_of_the_run(tmp_path: Path, sleeper: int) -> None:
    (tmp_path / "pids").write_text(f"{sleeper} {start_time(sleeper)}\n")
    assert _run("pause", tmp_path) == "paused\n"
    _wait_until(lambda: _state(sleeper) == "T")
    assert _run("resume", tmp_path) == "resumed\n"
    _wait_until(lambda: _state(sleeper) != "T")


def test_a_process_that_only_has_the_id_is_left_alone(tmp_path: Path, sleeper: int) -> None:
    (tmp_path / "pids").write_text(f"{sleeper} {int(start_time(sleeper)) - 1}\n")
    assert _run("pause", tmp_path) == "it does not run\n"
    assert _state(sleeper) != "T"


def test_a_run_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    assert "there is no run" in _run("status", tmp_path / "none")
    assert _run("stop", tmp_path / "none") == "it does not run\n"


def test_the_progress_is_that_of_the_last_steps_and_validation(tmp_path: Path) -> None:
    assert describe(tmp_path) == "nothing logged yet"
    quality = {"iou": 0.5, "first_iou": 0.9, "last_iou": 0.4, "presence": 0.8, "iou_correlation": 0.7}
    events = [
        {"step": 10, "event": "train", "minutes": 1.2, "loss": 0.9, "steps_a_second": 0.5},
        {"step": 12, "event": "validate", "prompt": "mask", **quality},
        {"step": 20, "event": "train", "minutes": 2.4, "loss": 0.8, "steps_a_second": 0.6},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    first, second, last = describe(tmp_path).splitlines()
    assert first.startswith("step 20, 2 minutes, loss 0.800, 0.60 steps/s")
    assert second.startswith("step 12, mask: IoU 0.500, first 0.900")
    assert last == "not saved yet"


def test_the_progress_says_why_a_run_ended_until_it_continues(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"event": "ended", "reason": "rank 1 ended: exit code -9"}) + "\n")
    assert describe(tmp_path) == "all ranks ended, because rank 1 ended: exit code -9\nnot saved yet"
    with log.open("a") as file:
        file.write(json.dumps({"step": 10, "event": "train", "minutes": 1.2, "loss": 0.9}) + "\n")
    assert "ended" not in describe(tmp_path)
