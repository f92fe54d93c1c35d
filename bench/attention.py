"""Times the kernel of memory attention alone: a full memory, a partly filled one with a mask, and ranges.

    python bench/attention.py --model sam2.1_hiera_t --image-size 1024

On CUDA, each variant is a recorded graph in bfloat16 with the fastest of torch's kernels that supports it. Of the
partly filled memory, all conditioning slots are read and one is filled. For ranges, ``parts`` is the number of pieces
into which each lane's keys are cut.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from hardware import write_results
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from streamseg.tracker.compiled.compile import CompiledEngine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.attention_backend import FIXED_SHAPES, median_s
from streamseg.tracker.sam2.build import build_model
from streamseg.tracker.sam2.ranged_attention import VARLEN_KERNELS, KeyRanges, attend_ranges_masked


@dataclass
class Row:
    """One variant at one number of lanes."""

    lanes: int
    memory: str
    kernel: str
    ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--lanes", type=int, nargs="+", default=(1, 4, 8, 16))
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(args.model, image_size=args.image_size, device=device)
    predictor = CameraPredictor(model, engine=CompiledEngine)  # nothing is compiled until it is warmed up
    with torch.inference_mode():
        rows = [row for lanes in args.lanes for row in measured(predictor, lanes, device)]
    text = table(rows)
    print(text)
    write_results(text, {"rows": [asdict(row) for row in rows]}, args)


def measured(predictor: CameraPredictor, lanes: int, device: torch.device) -> list[Row]:
    """Time every variant that the device supports."""
    step, shape = predictor.step, predictor.bank.shape
    full, read = (step.keys(shape, conditioning) for conditioning in (1, shape.conditioning_frames))
    channels = step.model.hidden_dim
    q, k = (torch.randn(lanes, tokens, channels, device=device).bfloat16() for tokens in (shape.tokens, read))
    counts = torch.arange(read, device=device) >= read - full
    mask = torch.zeros(1, 1, 1, read, device=device).masked_fill(~counts, -torch.inf).to(q.dtype)
    start, length = (torch.full((lanes,), count, dtype=torch.int32, device=device) for count in (read - full, full))
    ranges = KeyRanges(start, length)
    if device.type == "cuda":
        sdpa = FIXED_SHAPES
        by_range = {f"varlen, {max(1, kernel.splits // lanes)} parts": kernel for kernel in VARLEN_KERNELS}
    else:
        sdpa, by_range = (SDPBackend.FLASH_ATTENTION,), {"masked": attend_ranges_masked}
    ways = [
        (memory, backend.name.lower(), backend, partial(scaled_dot_product_attention, *given, scale=1.0))
        for memory, given in {
            "full": (q[:, None], *[k[:, None, -full:]] * 2),
            "masked": (q[:, None], *[k[:, None]] * 2, mask),
        }.items()
        for backend in sdpa
    ]
    ways += [
        ("ranged", name, SDPBackend.FLASH_ATTENTION, partial(kernel, q, k, k, ranges))
        for name, kernel in by_range.items()
    ]
    rows = []
    for memory, name, backend, function in ways:
        try:
            with sdpa_kernel(backend):
                rows.append(Row(lanes, memory, name, 1000 * median_s(predictor.engine.as_run(function), device)))
        except RuntimeError as error:
            print(f"{lanes} lanes, {memory}, {name}: {error}")
    return rows


def table(rows: list[Row]) -> str:
    """Markdown table with the fastest kernel for each memory."""
    memories = ("full", "masked", "ranged")
    lines = [f"| lanes | {' | '.join(f'{memory}, ms | by' for memory in memories)} |", "|---" * 7 + "|"]
    for lanes in dict.fromkeys(row.lanes for row in rows):
        cells = [str(lanes)]
        for memory in memories:
            found = [row for row in rows if (row.lanes, row.memory) == (lanes, memory)]
            best = min(found, key=lambda row: row.ms, default=None)
            cells += ["", "none"] if best is None else [f"{best.ms:.3f}", best.kernel]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
