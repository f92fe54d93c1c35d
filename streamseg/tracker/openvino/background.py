"""Runs the conversion in a process of its own, at a low priority.

Tracing holds the interpreter for seconds, and its memory would never be returned to the system. The process reads its
job from a file, writes the networks to a folder and a line per part to its standard output, and ends when its standard
input is closed, that is, with the process that started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import torch

from streamseg.tracker.engine import Progress
from streamseg.tracker.openvino.prepare import Job, prepare

_JOB = "job.pt"

_NICENESS = 10
"""Beside a worker that is always busy this leaves a tenth of a core. 19 would leave a hundredth, for many minutes."""


def prepare_in_process(job: Job, folder: Path, progress: Progress) -> None:
    """Do what :func:`prepare` does, in a process of its own. Blocks: until it has ended, up to minutes.

    Args:
        job: What to convert.
        folder: An existing folder to write to; only this user may write there, since the job is unpickled from it.
        progress: Called before each part, in the calling thread.

    Raises:
        RuntimeError: It failed; the message ends with the process's last lines.
        OSError: The process cannot be started.
    """
    job_file = folder / _JOB
    torch.save(job, job_file)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            if (part := _progress(line)) is None:
                said = (said + line)[-2000:]
            else:
                progress(*part)
    job_file.unlink()
    if process.returncode != 0:
        raise RuntimeError(f"the conversion ended with code {process.returncode}: {said.strip()}")


def _progress(line: str) -> tuple[str, float] | None:
    """Return what a line says, or None if it comes from a library."""
    with suppress(ValueError):
        what, share = json.loads(line)
        return str(what), float(share)
    return None


def main() -> None:
    """Entry point of the process. Its argument is the folder."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError, AttributeError):  # Windows has no such thing
        os.nice(_NICENESS)
    folder = Path(sys.argv[1])
    job: Job = torch.load(folder / _JOB, weights_only=False)
    torch.set_num_threads(job.threads)
    prepare(job, folder, lambda what, share: print(json.dumps([what, share]), flush=True))


def _end_with_parent() -> None:
    while os.read(0, 1):  # not `sys.stdin`, whose lock this thread would hold when the process ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
