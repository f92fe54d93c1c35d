"""OpenVINO's engine for the parity scenarios, which hide all objects on some frames by changing one weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from streamseg.tracker.background import Task
from streamseg.tracker.engine import Engine, LaneFrame, Progress
from streamseg.tracker.openvino.cache import NetworkCache
from streamseg.tracker.openvino.engine import OpenVinoEngine
from streamseg.tracker.openvino.prepare import Job, Timing, prepare
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep
from tests.tracker.tracker_scenes import HIDDEN, show

Prepare = Callable[[Job, Path, Progress], None]


class Here:
    """Converts in this process instead of one of its own."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare

    def run(self, task: Task[Job], job: Job, folder: Path, progress: Progress) -> None:
        self._prepare(job, folder, progress)

    def cancel(self) -> None:
        pass


def prepare_here(job: Job, folder: Any, progress: Progress) -> None:
    """Convert in this process, and have OpenVINO count as faster, so that it is what is tested."""
    import msgspec

    from streamseg.tracker.openvino.prepare import REPORT, read_report

    prepare(job, folder, progress)
    report = read_report(folder)
    timings = {name: Timing(0.0, timing.torch_ms, timing.error) for name, timing in report.timings.items()}
    (folder / REPORT).write_bytes(msgspec.json.encode(msgspec.structs.replace(report, timings=timings)))


class SwitchingEngine(Engine):
    """Two engines: one whose networks were converted while objects were seen, one while they were hidden."""

    def __init__(self, step: TrackStep, autocast: torch.dtype | None, cache: NetworkCache, prepare: Prepare) -> None:
        super().__init__(step, autocast)
        self._model = step.model
        self._frames = {True: 0, False: min(HIDDEN)}
        self.engines = {
            seen: OpenVinoEngine(step, None, wait=True, cache=cache, process=Here(prepare)) for seen in self._frames
        }

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        for seen, engine in self.engines.items():
            show(self._model, self._frames[seen])
            engine.warm_up(bank, padding_lane, progress)
            assert engine.state == "openvino"

    def encode(self, images: torch.Tensor) -> Features:
        return self.engines[True].encode(images)

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        seen = bool(self._model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias > 0)
        return self.engines[seen].track(bank, lanes, features, conditioning, masked)
