"""The conversion in a process of its own, as the worker runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openvino
import pytest
import torch
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_base import SAM2Base

import streamseg.models
from streamseg.tracker import torch_private
from streamseg.tracker.background import BackgroundProcess
from streamseg.tracker.openvino import prepare as preparing
from streamseg.tracker.openvino.functions import StepFunction, convert
from streamseg.tracker.openvino.network import Target, compile_network
from streamseg.tracker.openvino.prepare import ENCODER, REPORT, Job, prepare, read_report, step_sizes
from streamseg.tracker.openvino.rewrites import TokenAttention, rewritten
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.step import TrackStep
from tests.tracker.tracker_scenes import show


@pytest.mark.slow
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


def use_sam2_attention(step: TrackStep) -> None:
    """Undo the rewriting that keeps OpenVINO's wrong kernel out."""
    for module in list(step.model.sam_mask_decoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, TokenAttention):
                assert isinstance(child._attention, Attention)
                setattr(module, name, child._attention)


@pytest.mark.slow
def test_fused_kernels_are_used_unless_they_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounding of a single score does not decide, and a fusion that fails is no failure."""
    predictor = CameraPredictor(build_model("nano", checkpoint=Path(streamseg.models.__file__).with_name("nano.pt")))
    exact, shape = preparing._in_float32(predictor.step), predictor.bank.shape
    core, target = openvino.Core(), Target(torch.bfloat16, threads=1)

    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(seed)
        with torch.no_grad():
            features = exact.encode(torch.randn(1, 3, exact.model.image_size, exact.model.image_size))
        return preparing._example(exact, features, shape, 4)

    def fuses_well(name: str, inputs: tuple[torch.Tensor, ...]) -> bool:
        return preparing._fuses_well(core, tmp_path / name, target, exact, inputs)

    step, inputs = rewritten(exact), draw(1)
    for name in ("right.xml", "wrong.xml"):
        openvino.save_model(convert(StepFunction(step), inputs), tmp_path / name, compress_to_fp16=False)
        use_sam2_attention(step)
    assert fuses_well("right.xml", draw(1))  # where a score is rounded the other way
    if torch_private.cpu_capabilities().get("avx512_bf16"):  # else OpenVINO computes in float32
        assert not fuses_well("wrong.xml", draw(10))  # where the wrong kernel is least wrong
    assert not preparing._fuses_well(core, tmp_path / "right.xml", replace(target, device="GPU"), exact, inputs)

    def fails_if_fused(core: openvino.Core, path: Path, shapes: object, target: Target) -> openvino.CompiledModel:
        if target.fused:
            raise RuntimeError("no such kernel")
        return compile_network(core, path, shapes, target)  # type: ignore[arg-type]

    monkeypatch.setattr(preparing, "compile_network", fails_if_fused)
    assert not fuses_well("right.xml", inputs)
