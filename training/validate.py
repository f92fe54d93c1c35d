"""Compares weights on held-out clips, or on real ones.

python -m training.validate streamseg/models/nano.pt RUN/nano.pt --coco FOLDER --renders FOLDER --more FOLDER
python -m training.validate streamseg/models/nano.pt RUN/nano.pt --real FOLDER FOLDER
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean

import torch

from streamseg.tracker.sam2.build import build_model
from training.material import Folders, load_material
from training.precision import fast_precision
from training.real_clips import load_real_clips
from training.real_validation import KINDS, Mean, RealQuality, follow, load_tracker
from training.schedule import PLANS
from training.validation import Quality, measure, validation_batches

CPU = torch.device("cpu")


def main() -> None:
    """Parse the command line, measure each file of weights, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path, nargs="+", help="files exported by the trainer")
    parser.add_argument("--config", default="nano", help="model config, a name or a YAML file")
    Folders.add_options(parser)
    parser.add_argument("--batches", type=int, default=6, help="batches of four clips, per kind of prompt")
    parser.add_argument("--scene-batches", type=int, default=2, help="batches of four generated scenes")
    parser.add_argument(
        "--real", type=Path, nargs="+", metavar="FOLDER", help="compare on the real clips in these folders instead"
    )
    parser.add_argument("--image-size", type=int, help="side of the model's input, for --real; default: the config's")
    parser.add_argument("--objects", action="store_true", help="with --real: print each object, too")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.real is None:
        _compare_composed(options)
    else:
        _compare_real(parser, options)


def _compare_composed(options: argparse.Namespace) -> None:
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


def _compare_real(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Print means over objects with 95 % intervals; the gain is over the first weights, object by object."""
    clips = load_real_clips(options.real)
    if not clips:
        parser.error(f"--real: no clip of training/real_clips.json in {', '.join(map(str, options.real))}")
    count = sum(len(clip.objects) for clip in clips)
    print(f"{count} objects in {len(clips)} clips: {', '.join(clip.path.name for clip in clips)}\n")
    print("| weights | prompt | IoU | gain in IoU | first frame | presence right |\n" + "|" + "---|" * 6)
    base: dict[str, list[RealQuality]] = {}
    details = []
    for path in options.weights:
        tracker = load_tracker(path, options.config, options.threads, options.image_size)
        for kind in KINDS:
            results = [quality for clip in clips for quality in follow(tracker, clip, kind)]
            print(f"| {path.stem} | {kind} | {_row(results, base.setdefault(kind, results))} |", flush=True)
            details += [f"| {path.stem} | {kind} | {_object_row(quality)} |" for quality in results]
    if options.objects:
        print("\n| weights | prompt | object | IoU | first frame | presence right |\n" + "|" + "---|" * 6)
        print("\n".join(details))


def _row(results: list[RealQuality], base: list[RealQuality]) -> str:
    gain = Mean.of([new.iou - old.iou for new, old in zip(results, base, strict=True)])
    iou = Mean.of([one.iou for one in results])
    first, presence = (fmean(getattr(one, name) for one in results) for name in ("first_iou", "presence"))
    change = "" if results is base else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{iou.value:.3f} ({iou.low:.3f} to {iou.high:.3f}) | {change} | {first:.3f} | {presence:.3f}"


def _object_row(quality: RealQuality) -> str:
    return f"{quality.name} | {quality.iou:.3f} | {quality.first_iou:.3f} | {quality.presence:.3f}"


if __name__ == "__main__":
    main()
