"""Describes the machine that figures were measured on, and writes figures together with it."""

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
    """Print the machine, and write a benchmark's results together with it.

    Args:
        text: Markdown for ``args.markdown``, if given. A later call in the same run replaces the file.
        data: For ``args.json``, if given.
        args: Parsed command line.
        about: Description of the machine; None for :func:`machine`.
    """
    where = machine() if about is None else about
    if args.json:
        args.json.write_text(json.dumps({"machine": where, **data}, indent=1))
    if args.markdown:
        args.markdown.write_text(f"\n{text}\n\n{json.dumps(where)}\n")
    print(f"\n{json.dumps(where)}")


def processor() -> str:
    """Return the name of the CPU."""
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, object]:
    """Return processor, load and versions; for a GPU also its name, driver and clocks."""
    import torch  # here, because it takes seconds and `pipeline.py` does not need it

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
