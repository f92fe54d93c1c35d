"""One run of the trainer: progress, checkpoints, log."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader

from streamseg.tracker.sam2.build import build_model
from training.batches import Batch, BatchDataset, Request, make_batch, normalize
from training.checkpoints import load_state, save_atomically
from training.material import Folders, load_material
from training.precision import fast_precision
from training.pretrained import find_pretrained_trunk
from training.ranks import Ranks
from training.rollout_queue import RolloutQueue
from training.schedule import PLANS, Phase, phase_at, rate_factor
from training.start import start_weights
from training.trainer import StepReport, Trainer, export_weights
from training.validation import measure, validation_batches

# A longer step was paused (SIGSTOP, a suspended machine); the excess does not count against the budget.
_LONGEST_STEP_S = 60.0
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class Run:
    """One run of the trainer: progress, checkpoints, log."""

    def __init__(self, options: argparse.Namespace, ranks: Ranks) -> None:
        torch.set_num_threads(options.threads)
        _keep_freed_memory()
        # Call it before the data loaders fork: they would wait for OpenCV's threads, which a fork does not copy.
        cv2.setNumThreads(1)
        self._options = options
        self._ranks = ranks
        self._out: Path = options.out
        self._out.mkdir(parents=True, exist_ok=True)
        self._plan = PLANS[options.plan]
        self._phases = tuple(_scaled(phase, options.scale) for phase in self._plan.phases)
        folders = Folders.chosen(options)
        self._material = load_material(folders)
        self._validation = validation_batches(load_material(folders, held_out=True), self._plan)
        self._trainer = self._new_trainer()
        self.step = 0
        self._drawn = 0
        self._spent_s = self._spent_cpu_s = 0.0
        self._stable_saved = False
        self._cooldown = 0.0 if options.endless else options.cooldown
        self._stopping = False
        self._reports: list[StepReport] = []
        self._logged = self._counted = time.monotonic()
        self._resume()

    def train(self) -> None:
        """Train until the budget is spent, then export. SIGTERM saves and stops after the current step."""
        previous = signal.signal(signal.SIGTERM, self._stop)
        try:
            self._train()
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _train(self) -> None:
        options, ranks = self._options, self._ranks
        batches = iter(self._loader())
        self._write_pids(batches)
        queue = RolloutQueue(batches, self._trainer.device, options.in_turn, self._drawn)
        if self.step == 0 and options.start_from is not None:
            self._validate()
        saving, validating = _Every(options.save_minutes), _Every(options.validate_minutes)
        self._logged = self._counted = time.monotonic()
        while True:
            progress, stopping = ranks.mean(self.progress(), float(self._stopping))
            if progress >= 1 or stopping:
                break
            self._step(queue, progress)
            if saving.due():
                self._save("last.pt")
            # If one rank is due, all validate together.
            if ranks.mean(float(validating.due()))[0] > 0:
                self._validate()
                self._counted = time.monotonic()
        self._save("last.pt")
        if progress >= 1:
            if ranks.rank == 0:
                export_weights(self._trainer.average.state_dict(), self._out / "nano.pt")
            self._validate()

    def _step(self, queue: RolloutQueue, progress: float) -> None:
        options = self._options
        if progress > 1 - self._cooldown and not self._stable_saved:
            self._stable_saved = True
            self._save("stable.pt")
        self._trainer.train_trunk(options.trunk_stages if progress >= options.trunk_from else 0)
        factor = rate_factor(self.step, progress, warmup_steps=options.warmup_steps, cooldown=self._cooldown)
        self._reports.append(self._trainer.step(queue.next(), factor, self._ranks))
        self.step += 1
        self._drawn = queue.drawn
        now = time.monotonic()
        self._spent_s += min(now - self._counted, _LONGEST_STEP_S)
        self._counted = now
        if now - self._logged > 60 or self.step % 100 == 0:
            reports = [asdict(report) for report in self._reports]
            means = {name: sum(report[name] for report in reports) / len(reports) for name in reports[0]}
            pace = len(reports) / (now - self._logged)
            self._log({"event": "train", "steps_a_second": pace, "rate": factor, **means})
            self._reports, self._logged = [], now

    def _loader(self) -> DataLoader[Batch]:
        workers = self._options.workers
        return DataLoader(
            BatchDataset(self._material, self._options.seed),
            sampler=self._requests(),  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            prefetch_factor=3 if workers else None,
        )

    def progress(self) -> float:
        """Return the progress of the run, 0..1; 0 for an endless one."""
        if self._options.endless:
            return 0.0
        if self._options.steps is not None:
            return self.step / self._options.steps
        return self._spent_s / (60 * float(self._options.budget_minutes))

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _requests(self) -> Iterator[Request]:
        """Request batches ahead of use; the phase depends on the step or, with a budget of time, on the clock."""
        number = self._drawn
        steps = self._options.steps
        while steps is None or number < steps:
            progress = self.progress() if steps is None else number / steps
            yield Request(number * self._ranks.size + self._ranks.rank, phase_at(self._phases, progress))
            number += 1

    def _new_trainer(self) -> Trainer:
        options = self._options
        model = build_model(options.config, seed=options.seed, checkpoint=options.start_from)
        if options.start_from is not None:
            return Trainer(model, torch.device(options.device), options.learning_rate)
        request = Request(0, replace(self._phases[0], prompt_shares=(1.0, 0.0, 0.0)))
        pictures = normalize(make_batch(self._material, options.seed + 1, request).images).flatten(0, 1)
        torch.manual_seed(options.seed)
        start_weights(model, None if options.random_trunk else find_pretrained_trunk(), pictures)
        return Trainer(model, torch.device(options.device), options.learning_rate)

    def _resume(self) -> None:
        path = self._out / ("stable.pt" if self._options.extend else "last.pt")
        if not path.exists():
            return
        state = load_state(path)
        self._trainer.load(state)
        self.step = state["step"]
        self._drawn = state.get("drawn", self.step)
        # An extended run has a new budget; a resumed one counts earlier time.
        self._spent_s = 0.0 if self._options.extend else state["spent_s"]
        self._spent_cpu_s = state["spent_cpu_s"] - time.process_time()
        self._stable_saved = state["stable_saved"] and not self._options.extend

    def _save(self, name: str) -> None:
        if self._ranks.rank:
            return
        state = {
            "step": self.step,
            "drawn": self._drawn,
            "spent_s": self._spent_s,
            "spent_cpu_s": self._spent_cpu_s + time.process_time(),
            "stable_saved": self._stable_saved,
        }
        save_atomically(state | self._trainer.state(), self._out / name)

    def _validate(self) -> None:
        """Measure the averaged weights; the ranks share the work."""
        trainer, ranks = self._trainer, self._ranks
        mine = list(self._validation.items())[ranks.rank :: ranks.size]
        with fast_precision(trainer.device):
            measured = {name: measure(trainer.average, batches, trainer.device) for name, batches in mine}
        for part in ranks.gather(measured):
            for name, quality in part.items():
                self._log({"event": "validate", "prompt": name, **asdict(quality)})

    def _log(self, fields: dict[str, object]) -> None:
        if self._ranks.rank:
            return
        spent = {
            "minutes": self._spent_s / 60,
            "cpu_minutes": (self._spent_cpu_s + time.process_time()) / 60,
        }
        line = {"step": self.step, **spent, **fields}
        with (self._out / "log.jsonl").open("a") as file:
            file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}) + "\n")

    def _write_pids(self, batches: object) -> None:
        workers = [worker.pid for worker in getattr(batches, "_workers", ())]
        lines = self._ranks.gather("".join(f"{pid} {start_time(pid)}\n" for pid in (os.getpid(), *workers)))
        if self._options.pid_file is not None and self._ranks.rank == 0:
            self._options.pid_file.write_text("".join(lines))


class _Every:
    """A timer for an interval of some minutes."""

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._since = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._since < self._seconds:
            return False
        self._since = now
        return True


def start_time(pid: int) -> str:
    """Return the start time of a process, in ticks since boot. Together with its id, it identifies the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory: otherwise each step maps its large tensors again, and the kernel zeroes them.

    A step at 256 px takes 1.72 s instead of 2.08 s (two Zen 4 cores).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _scaled(phase: Phase, scale: float) -> Phase:
    return replace(phase, frame_budget=max(phase.frames_max, round(phase.frame_budget * scale)))
