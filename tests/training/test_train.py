from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model
from training.batches import Request, make_batch
from training.material import Material
from training.ranks import Ranks
from training.rollout import Rollout
from training.schedule import PLANS
from training.train import main
from training.trainer import Trainer, set_image_size

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 350.0
STEPS = 4


def _arguments(out: Path, *more: str) -> list[str]:
    fixed = ("--plan", "proof", "--random-trunk", "--workers", "0", "--warmup-steps", "5", "--device", "cpu")
    return ["--out", str(out), "--steps", str(STEPS), *fixed, *more]


def _weights(out: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(out / "nano.pt", weights_only=True)["model"]
    return weights


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    phase = PLANS["proof"].phases[0]
    trainer = Trainer(build_model("nano"), torch.device("cpu"), 1e-3)
    batches = [make_batch(Material(), 0, Request(step, phase)) for step in range(2)]
    losses = [trainer.step(Rollout(batches[step % 2], trainer.device), 1.0, Ranks()).loss for step in range(8)]
    assert np.mean(losses[-2:]) < 0.5 * np.mean(losses[:2]), losses


@pytest.mark.parametrize("stages", [0, 2, 7])
def test_only_the_last_stages_of_the_trunk_are_trained(stages: int) -> None:
    phase = replace(PLANS["proof"].phases[0], sides_px=(32,), frame_budget=2, frames_min=2, frames_max=2)
    trainer = Trainer(build_model("nano"), torch.device("cpu"), 1e-3)
    trainer.train_trunk(stages)
    before = [[part.clone() for part in stage.parameters()] for stage in trainer.model.image_encoder.trunk.stages]
    trainer.step(Rollout(make_batch(Material(), 0, Request(0, phase)), trainer.device), 1.0, Ranks())
    changed = [
        any(not torch.equal(part, old) for part, old in zip(stage.parameters(), parts, strict=True))
        for stage, parts in zip(trainer.model.image_encoder.trunk.stages, before, strict=True)
    ]
    assert changed == [False] * (7 - stages) + [True] * stages


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_resumed_run_ends_with_the_same_weights_and_they_load(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    main(_arguments(whole))
    command = [sys.executable, "-m", "training.train", *_arguments(parted, "--save-minutes", "0")]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not (parted / "last.pt").exists():
            assert process.poll() is None, "the run ended by itself"
            assert time.monotonic() < deadline, "the run saved nothing"
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    main(_arguments(parted))
    for name, weight in _weights(whole).items():
        assert torch.equal(weight, _weights(parted)[name]), name
        assert weight.dtype == torch.float16 or not weight.is_floating_point(), name
    events = [json.loads(line)["event"] for line in (whole / "log.jsonl").read_text().splitlines()]
    assert events[-1] == "validate"

    again = tmp_path / "again"
    main(_arguments(again, "--start-from", str(whole / "nano.pt"), "--learning-rate", "0", "--steps", "1"))
    assert all(torch.equal(weight, _weights(again)[name]) for name, weight in _weights(whole).items())

    predictor = CameraPredictor(build_model("nano", image_size=64, checkpoint=whole / "nano.pt"), max_objects=1)
    predictor.open_stream("a")
    predictor.track({"a": torch.zeros(3, 64, 64)})
    output = predictor.add_prompt("a", 1, points_norm=torch.tensor([[0.5, 0.5]]), labels=torch.tensor([1]))
    assert torch.isfinite(output.iou_prediction).all()
    reference = build_reference_model("nano", checkpoint=whole / "nano.pt")
    assert reference.image_encoder.trunk.channel_list == [320, 112, 40, 24]


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.train", *_arguments(tmp_path, "--processes", "2")]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=DEADLINE_S)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["prompt"] for line in lines} == {"mask", "box", "point"}
    assert all(torch.isfinite(weight).all() for weight in _weights(tmp_path).values())


def test_a_resized_model_is_the_model_of_that_size() -> None:
    small, resized = build_model("nano", image_size=64), build_model("nano", image_size=256)
    set_image_size(resized, 64)
    for field in ("image_size", "sam_image_embedding_size"):
        assert getattr(resized, field) == getattr(small, field)
    for field in ("image_embedding_size", "input_image_size", "mask_input_size"):
        assert getattr(resized.sam_prompt_encoder, field) == getattr(small.sam_prompt_encoder, field)
