from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model
from training.batches import Request, make_batch, normalise
from training.material import Material
from training.rollout import roll_out
from training.schedule import PLANS
from training.train import main
from training.trainer import Trainer, set_image_size

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 120.0
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
    losses = [trainer.step(batches[step % 2], 1.0).loss for step in range(10)]
    assert np.mean(losses[-2:]) < 0.5 * np.mean(losses[:2]), losses


def test_a_batch_with_masks_teaches_boxes_or_clicks_as_well() -> None:
    phase = replace(PLANS["proof"].phases[0], prompt_shares=(1.0, 0.0, 0.0), frames_min=3, frames_max=3)
    batches = [make_batch(Material(), 0, Request(step, phase)) for step in range(8)]
    assert {batch.asides for batch in batches} == {("box",), ("point",)}
    batch, model = batches[0], build_model("nano").train().requires_grad_(True)
    set_image_size(model, phase.side_px)
    rollout = roll_out(
        model,
        normalise(batch.images),
        batch.lane_clips,
        batch.truth,
        "mask",
        0,
        torch.Generator().manual_seed(0),
        batch.asides,
    )
    assert len(rollout.losses) == 1 + 2, "the box or click, and the two frames that are tracked"
    rollout.losses[0].total.backward()
    assert model.sam_prompt_encoder.point_embeddings[1 if batch.asides == ("point",) else 2].weight.grad is not None


def test_a_stopped_run_goes_on_to_the_same_weights_and_they_load(tmp_path: Path) -> None:
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


def test_a_resized_model_is_the_model_of_that_size() -> None:
    small, resized = build_model("nano", image_size=64), build_model("nano", image_size=256)
    set_image_size(resized, 64)
    for field in ("image_size", "sam_image_embedding_size"):
        assert getattr(resized, field) == getattr(small, field)
    for field in ("image_embedding_size", "input_image_size", "mask_input_size"):
        assert getattr(resized.sam_prompt_encoder, field) == getattr(small.sam_prompt_encoder, field)
