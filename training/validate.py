"""Compares weights on held-out clips.

python -m training.validate streamseg/models/nano.pt RUN/nano.pt --coco FOLDER --renders FOLDER --more FOLDER
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import torch

from streamseg.tracker.sam2.build import build_model
from training.material import Folders, load_material
from training.precision import fast_precision
from training.schedule import PLANS
from training.validation import Quality, measure, validation_batches

CPU = torch.device("cpu")


def main() -> None:
    """Parse the command line, measure each file of weights, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path, nargs="+", help="as the trainer exports them")
    parser.add_argument("--config", default="nano", help="model config, a name or a YAML file")
    Folders.add_options(parser)
    parser.add_argument("--batches", type=int, default=6, help="of four clips, for each kind of prompt")
    parser.add_argument("--scene-batches", type=int, default=2, help="of four generated scenes")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = replace(PLANS["further"], validation_batches=options.batches, scene_batches=options.scene_batches)
    material = load_material(Folders.chosen(options), held_out=True)
    groups = validation_batches(material, plan)
    names = [field.name for field in fields(Quality)]
    print("| weights | prompt | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|" + "---|" * (2 + len(names)))
    for path in options.weights:
        model = build_model(options.config, checkpoint=path)
        for prompt, batches in groups.items():
            with fast_precision(CPU):
                quality = measure(model, batches, CPU)
            figures = (f"{getattr(quality, name):.3f}" for name in names)
            print(f"| {path.stem} | {prompt} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
