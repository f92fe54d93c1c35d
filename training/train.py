"""Trains streamseg-nano: one command, which also goes on where it was stopped.

    python -m training.train --out RUN --coco FOLDER --renders FOLDER --budget-minutes 105

``RUN`` then holds ``last.pt`` (to go on from, written every few minutes), ``stable.pt`` (the state before the rate was
annealed: ``--extend`` goes on from it with a new budget), ``log.jsonl`` and ``nano.pt`` (the averaged weights, fp16).
"""

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
from training.batches import Batch, BatchDataset, Request, make_batch, normalise
from training.checkpoints import load_state, save_atomically
from training.material import Material, load_material
from training.pretrained import find_pretrained_trunk
from training.schedule import PLANS, Phase, phase_at, rate_factor
from training.start import start_weights
from training.trainer import Trainer, export_weights

_VALIDATION_SEED = 1_000_003
# A step that seems to take longer was paused (SIGSTOP, a suspended machine): that time does not use up the budget.
_LONGEST_STEP_S = 60.0
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train to the end of the budget."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; created, or gone on with")
    parser.add_argument("--config", default="nano", help="model config, a name or a YAML file")
    parser.add_argument("--coco", type=Path, help="folder of photographs with instances.json")
    parser.add_argument("--renders", type=Path, help="folder of pictures with an alpha channel")
    parser.add_argument("--start-from", type=Path, help="begin with these weights, such as streamseg/models/nano.pt")
    parser.add_argument("--random-trunk", action="store_true", help="do not look for the pretrained trunk")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="length of the run in steps: the same result every time")
    length.add_argument("--budget-minutes", type=float, help="length of the run in time, pauses left out")
    parser.add_argument("--plan", choices=sorted(PLANS), default="full", help="what is trained when")
    parser.add_argument("--extend", action="store_true", help="go on from stable.pt, before the rate was annealed")
    parser.add_argument("--scale", type=float, default=1.0, help="of the batches; 1 suits a CPU")
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--cooldown", type=float, default=0.75, help="share of the run in which the rate falls")
    parser.add_argument(
        "--trunk-from", type=float, default=1.0, help="progress from which the trunk is trained too; a GPU can"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the makers of clips have one each")
    parser.add_argument("--workers", type=int, default=1, help="processes that make clips")
    parser.add_argument("--pid-file", type=Path, help="gets the ids of the run's processes, one a line")
    parser.add_argument("--save-minutes", type=float, default=15.0)
    Run(parser.parse_args(arguments)).train()


class Run:
    """One run of the trainer: progress, checkpoints, log."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.set_num_threads(options.threads)
        _keep_freed_memory()
        # Before the makers of clips are forked: OpenCV's threads would be missing in them, and waited for.
        cv2.setNumThreads(1)
        self._options = options
        self._out: Path = options.out
        self._out.mkdir(parents=True, exist_ok=True)
        self._plan = PLANS[options.plan]
        self._phases = tuple(_scaled(phase, options.scale) for phase in self._plan.phases)
        self._material = load_material(options.coco, options.renders)
        held_out = load_material(options.coco, options.renders, held_out=True)
        self._validation = self._validation_batches(held_out)
        self._trainer = self._new_trainer()
        self.step = 0
        self._spent_s = self._spent_cpu_s = 0.0
        self._stable_saved = False
        self._stopping = False
        self._resume()

    def train(self) -> None:
        """Train to the end of the budget, then export; SIGTERM saves and stops after the step at hand."""
        previous = signal.signal(signal.SIGTERM, self._stop)
        try:
            self._train()
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _train(self) -> None:
        options = self._options
        loader = DataLoader(
            BatchDataset(self._material, options.seed),
            sampler=self._requests(),  # type: ignore[arg-type]
            batch_size=None,
            num_workers=options.workers,
            prefetch_factor=3 if options.workers else None,
        )
        batches = iter(loader)
        self._write_pids(batches)
        saved = logged = counted = time.monotonic()
        reports = []
        for batch in batches:
            progress = self.progress()
            if progress >= 1:
                break
            if progress > 1 - options.cooldown and not self._stable_saved:
                self._stable_saved = True
                self._save("stable.pt")
            self._trainer.train_trunk(progress >= options.trunk_from)
            factor = rate_factor(self.step, progress, warmup_steps=options.warmup_steps, cooldown=options.cooldown)
            reports.append(self._trainer.step(batch, factor))
            self.step += 1
            now = time.monotonic()
            self._spent_s += min(now - counted, _LONGEST_STEP_S)
            counted = now
            if now - logged > 60 or self.step % 100 == 0:
                fields = asdict(reports[-1])
                means = {name: sum(getattr(report, name) for report in reports) / len(reports) for name in fields}
                self._log({"event": "train", "side_px": batch.request.phase.side_px, "rate": factor, **means})
                reports, logged = [], now
            if now - saved > 60 * options.save_minutes:
                self._save("last.pt")
                self._validate()
                saved = time.monotonic()
            if self._stopping:
                self._save("last.pt")
                return
        self._save("last.pt")
        self._validate()
        export_weights(self._trainer.average.state_dict(), self._out / "nano.pt")

    def progress(self) -> float:
        """Return how much of the run is done, in 0..1."""
        if self._options.steps is not None:
            return self.step / self._options.steps
        return self._spent_s / (60 * float(self._options.budget_minutes))

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _requests(self) -> Iterator[Request]:
        """Order batches ahead of their use; by steps the phase depends on the step alone, by time on the clock."""
        step = self.step
        steps = self._options.steps
        while steps is None or step < steps:
            progress = self.progress() if steps is None else step / steps
            yield Request(step, phase_at(self._phases, progress))
            step += 1

    def _new_trainer(self) -> Trainer:
        options = self._options
        model = build_model(options.config, seed=options.seed, checkpoint=options.start_from)
        if options.start_from is not None:
            return Trainer(model, torch.device(options.device), options.learning_rate)
        request = Request(0, replace(self._phases[0], prompt_shares=(1.0, 0.0, 0.0)))
        pictures = normalise(make_batch(self._material, options.seed + 1, request).images).flatten(0, 1)
        torch.manual_seed(options.seed)
        start_weights(model, None if options.random_trunk else find_pretrained_trunk(), pictures)
        return Trainer(model, torch.device(options.device), options.learning_rate)

    def _validation_batches(self, material: Material) -> list[Batch]:
        """Return the same clips for each kind of prompt."""
        batches = []
        for kind, count in enumerate(self._plan.validation_batches):
            phase = replace(self._plan.validation, prompt_shares=tuple(float(kind == k) for k in range(3)))
            batches += [make_batch(material, _VALIDATION_SEED, Request(step, phase)) for step in range(count)]
        return batches

    def _resume(self) -> None:
        path = self._out / ("stable.pt" if self._options.extend else "last.pt")
        if not path.exists():
            return
        state = load_state(path)
        self._trainer.load(state)
        self.step = state["step"]
        # Extending counts its own time or steps from here; going on, the time that was spent counts.
        self._spent_s = 0.0 if self._options.extend else state["spent_s"]
        self._spent_cpu_s = state["spent_cpu_s"] - time.process_time()
        self._stable_saved = state["stable_saved"] and not self._options.extend

    def _save(self, name: str) -> None:
        state = {
            "step": self.step,
            "spent_s": self._spent_s,
            "spent_cpu_s": self._spent_cpu_s + time.process_time(),
            "stable_saved": self._stable_saved,
        }
        save_atomically(state | self._trainer.state(), self._out / name)

    def _validate(self) -> None:
        for kind, quality in self._trainer.validate(self._validation).items():
            self._log({"event": "validate", "prompt": kind, **asdict(quality)})

    def _log(self, fields: dict[str, object]) -> None:
        spent = {
            "minutes": self._spent_s / 60,
            "cpu_minutes": (self._spent_cpu_s + time.process_time()) / 60,
        }
        line = {"step": self.step, **spent, **fields}
        with (self._out / "log.jsonl").open("a") as file:
            file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}) + "\n")

    def _write_pids(self, batches: object) -> None:
        if self._options.pid_file is not None:
            workers = [worker.pid for worker in getattr(batches, "_workers", ())]
            self._options.pid_file.write_text("".join(f"{pid}\n" for pid in (os.getpid(), *workers)))


def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: each step's large tensors would else be mapped, and zeroed, anew.

    A step at 256 px takes 1.72 s in place of 2.08 s so (two Zen 4 cores).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _scaled(phase: Phase, scale: float) -> Phase:
    return replace(phase, frame_budget=max(phase.frames_max, round(phase.frame_budget * scale)))


if __name__ == "__main__":
    main()
