"""What figures were measured on, and where they are written together with that."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_results(
    text: str, data: Mapping[str, Any], args: argparse.Namespace, about: Mapping[str, Any] | None = None
) -> None:
    """Print what a benchmark ran on, and write its results beside that.

    Args:
        text: Markdown, written to ``args.markdown`` if that was given. A later call of the same run has all of it.
        data: Written as JSON to ``args.json`` if that was given.
        args: Of the command line.
        about: What it ran on; None for :func:`machine`.
    """
    where = machine() if about is None else about
    if args.json:
        args.json.write_text(json.dumps({"machine": where, **data}, indent=1))
    if args.markdown:
        args.markdown.write_text(f"\n{text}\n\n{json.dumps(where)}\n")
    print(f"\n{json.dumps(where)}")


def processor() -> str:
    """Name of the CPU."""
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, object]:
    """Processor, load, versions, and of a GPU its name, driver and clocks."""
    import torch  # the daemon that `pipeline.py` runs has no use for it, and it takes seconds

    found: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        fields = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,power.limit"
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        found["gpu"] = dict(zip(fields.split(","), answer.split(", "), strict=False))
        found["cuda"] = torch.version.cuda
    return found
