"""What figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import torch


def machine() -> dict[str, object]:
    """Processor, load, versions, and of a GPU its name, driver and clocks."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.split(":")[1].strip()
            break
    found: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": processor,
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
