"""Runs the conversion in a process of its own, at a low priority.

Tracing holds the interpreter for seconds, and its memory would never be returned to the system. The process reads its
job from a file, which it deletes, and writes the networks to a folder and a line per part to its standard output. The
kernel kills it with the process that started it, which also limits its time.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from streamseg.tracker.engine import Progress
from streamseg.tracker.openvino.prepare import Job, prepare

_JOB = "job.pt"

_START: Final = f"""
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, before the imports, which take seconds
from {__name__} import main
main()
"""

_LIMIT_S: Final = 3600.0
"""A conversion that takes longer is ended as hung. It is generous: a busy worker leaves it a tenth of a core."""

_NICENESS = 10
"""Beside a worker that is always busy this leaves a tenth of a core. 19 would leave a hundredth, for many minutes."""


def prepare_in_process(job: Job, folder: Path, progress: Progress, *, limit_s: float = _LIMIT_S) -> None:
    """Do what :func:`prepare` does, in a process of its own. Blocks: until it has ended, up to ``limit_s``.

    Args:
        job: What to convert.
        folder: An existing folder to write to; only this user may write there, since the job is unpickled from it.
        progress: Called before each part, in the calling thread.
        limit_s: Seconds until the process is killed.

    Raises:
        TimeoutError: It was killed because it did not end in time.
        RuntimeError: It failed; the message ends with the process's last lines.
        OSError: The process cannot be started.
    """
    job_file = folder / _JOB
    torch.save(job, job_file)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _START, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        limit = threading.Timer(limit_s, stop)
        limit.daemon = True
        limit.start()
        said = ""
        try:
            for line in process.stdout:
                if (part := _progress(line)) is None:
                    said = (said + line)[-2000:]
                else:
                    progress(*part)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            limit.cancel()
            job_file.unlink(missing_ok=True)
    if late.is_set():
        raise TimeoutError(f"the conversion was stopped: it did not end within {limit_s:g} s")
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
    _end_with_parent()
    with suppress(OSError, AttributeError):  # Windows has no such thing
        os.nice(_NICENESS)
    folder = Path(sys.argv[1])
    job: Job = torch.load(folder / _JOB, weights_only=False)
    (folder / _JOB).unlink()  # as large as the weights, and no longer needed
    torch.set_num_threads(job.threads)
    prepare(job, folder, lambda what, share: print(json.dumps([what, share]), flush=True))


def _end_with_parent() -> None:
    """End if the process that started this one died before the kernel was asked to kill this one with it.

    A thread that waited for the end of standard input would get the interpreter only after the tracing of a network.
    """
    poll = select.poll()
    poll.register(0, 0)  # errors and the end only
    if poll.poll(0):  # the other end was closed before prctl took effect
        os._exit(1)
