"""The benchmarks can be run. Their figures are not checked: timing decides no test."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
SMALL_SAM2 = ROOT / "tests" / "tracker" / "small_sam2.yaml"


def run(*command: object) -> str:
    inherited = os.environ.get("PYTHONPATH")
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCH), *filter(None, [inherited])])},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_every_bench_can_be_imported() -> None:
    names = {path.stem for path in BENCH.glob("*.py")}
    if find_spec("transformers") is None:
        names -= {"transformers_video", "transformers_masks"}
    imports = "; ".join(f"import {name}; print({name}.__name__)" for name in sorted(names))
    assert set(run("-W", "ignore", "-c", imports).split()) == names


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_tracker_bench_names_an_arm_that_fails_and_measures_the_others(tmp_path: Path) -> None:
    """An arm that fails is named, and the others are measured."""
    result = tmp_path / "result.json"
    grid = ("--models", SMALL_SAM2, "--sizes", 128, "--objects", 1, 2, "--dtypes", "float32")
    arms = ("--no-compiled", "--no-vos", "--fork", tmp_path / "no fork is here")
    short = ("--rounds", 2, "--block", 1, "--warm-up", 2)
    run(BENCH / "tracker.py", *grid, *arms, *short, "--json", result, "--markdown", tmp_path / "result.md")
    found = json.loads(result.read_text())
    names = ["official float32", "ours eager float32", "ours openvino float32"]
    assert [(row["objects"], row["arm"]) for row in found["rows"]] == [(n, arm) for n in (1, 2) for arm in names]
    assert all(row["agree"] > 0.99 for row in found["rows"])
    assert [row["ratios"].keys() for row in found["rows"] if row["arm"] == names[1]] == [{names[0]}] * 2
    for n, line in zip((1, 2), found["failed"], strict=True):
        assert f"{n} x 1: fork float32 failed: EOFError" in line
    assert (tmp_path / "result.md").read_text().count("ours eager float32") == 2


@pytest.mark.slow
def test_pipeline_and_transport_benches_run(tmp_path: Path) -> None:
    """The daemon that latency.py, start.py and soak.py start, too, and the transport that it is compared with."""
    result = tmp_path / "result.json"
    arm = ("--streams", 1, "--sizes", "720p", "--sources", "camera", "--transports", "ring", "queue")
    run(BENCH / "pipeline.py", *arm, "--seconds", 1, "--json", result)
    rows = json.loads(result.read_text())["rows"]
    assert [row["transport"] for row in rows] == ["ring", "queue"]
    assert all(row["captured"] > 0 for row in rows)


@pytest.mark.slow
def test_stages_bench_measures_both_kinds_of_edges(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    small = ("--image-size", 64, "--video", 320, 180, "--objects", 2, "--repeats", 1, "--threads", 1)
    run(BENCH / "stages.py", *small, "--json", result, "--markdown", tmp_path / "result.md")
    stages = [row["stage"] for row in json.loads(result.read_text())["rows"]]
    assert stages[:2] == ["preprocess", "encode"]
    assert stages[-2:] == ["postprocess, the model's edges", "postprocess, edges by colors"]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_automask_bench_runs_with_nano(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    run(BENCH / "automask.py", "--models", "nano", "--side", "3", "--json", report)
    rows = {row["arm"]: row for row in json.loads(report.read_text())["rows"]}
    assert rows.keys() >= {"reference", "ours", "ours exact"}
    assert rows["ours exact"]["masks"] == rows["reference"]["masks"] > 0
    assert rows["ours exact"]["mean_iou"] == 1.0
    assert rows["ours"]["missing"] == 0
