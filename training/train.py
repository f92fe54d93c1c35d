"""Trains streamseg-nano, or resumes a stopped run.

    python -m training.train --out RUN --coco FOLDER --renders FOLDER --more FOLDER --budget-minutes 105

``RUN`` then has ``last.pt`` (to resume from, written every few minutes), ``stable.pt`` (the state before the cool-down:
``--extend`` continues from it with a new budget), ``log.jsonl`` and ``nano.pt`` (the averaged weights, fp16).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.material import Folders
from training.ranks import Ranks, run_ranks
from training.run import Run
from training.schedule import PLANS


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train until the budget is spent."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is resumed")
    parser.add_argument("--config", default="nano", help="model config, a name or a YAML file")
    Folders.add_options(parser)
    parser.add_argument("--start-from", type=Path, help="begin with these weights, such as streamseg/models/nano.pt")
    parser.add_argument("--random-trunk", action="store_true", help="do not look for the pretrained trunk")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="length of the run in steps: the same result every time")
    length.add_argument("--endless", action="store_true", help="train at a constant rate until stopped")
    length.add_argument("--budget-minutes", type=float, help="length of the run in time, without pauses")
    parser.add_argument("--plan", choices=sorted(PLANS), default="full", help="schedule of the run")
    parser.add_argument("--extend", action="store_true", help="continue from stable.pt, before the cool-down")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the size of batches; 1 suits a CPU")
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--cooldown", type=float, default=0.75, help="share of the run in which the rate falls")
    parser.add_argument("--trunk-stages", type=int, default=0, help="number of the trunk's last stages to train")
    parser.add_argument("--trunk-from", type=float, default=0.0, help="progress at which their training begins")
    parser.add_argument("--in-turn", type=int, default=6, help="number of batches trained in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together, on separate batches")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process")
    parser.add_argument("--workers", type=int, default=1, help="processes that make clips, per training process")
    parser.add_argument(
        "--pid-file", type=Path, help="gets each process of the run: its id and its start time, as in /proc/PID/stat"
    )
    parser.add_argument("--save-minutes", type=float, default=10.0)
    parser.add_argument("--validate-minutes", type=float, default=60.0)
    options = parser.parse_args(arguments)
    run_ranks(_train, options, options.processes)


def _train(options: argparse.Namespace, ranks: Ranks) -> None:
    Run(options, ranks).train()


if __name__ == "__main__":
    main()
