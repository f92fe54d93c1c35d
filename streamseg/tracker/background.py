"""Runs a task, such as converting or compiling a model, in a separate process in idle CPU time.

Tracing blocks the interpreter for seconds, and its memory would never be returned to the system. The process reads the
task from a file, which it deletes, and writes its results to a folder, and a line per part to standard output. The
kernel kills it together with its parent.

Niceness alone does not protect a model that runs meanwhile: its threads wait for each other hundreds of times a frame,
and whenever one sleeps, a nice process takes its core for milliseconds. While a process with niceness 10 converted
nano, two quiet Zen 4 cores tracked 9.5 of a camera's 15 frames/s. A process in Linux's idle scheduling class runs only
while no other process needs the core.

Ours because ``concurrent.futures`` cannot end a running task.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from streamseg.common.cpu_time import active_s

if TYPE_CHECKING:  # torch takes seconds to import
    from streamseg.tracker.engine import Progress

Priority = Literal["idle", "nice", "normal"]
"""``idle``: only time that no other process needs. ``nice``: a tenth of a core next to a busy process."""

_TASK: Final = "task.pickle"

_START: Final = f"""
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, before the imports, which take seconds
from {__name__} import main
main()
"""

_LIMIT_S: Final = 3600.0
"""A task that takes longer is killed as hung. The limit is generous: a busy machine leaves it a tenth of a core."""

_IDLE_LIMIT_S: Final = 240.0
"""If a task gets less idle time than :data:`_NICE_SHARE` in a period of this length, it restarts with niceness."""

_NICENESS: Final = 10
"""Next to a process that is always busy, this leaves a tenth of a core. 19 would leave only a hundredth."""
_NICE_SHARE: Final = 0.1
"""Share of a core that :data:`_NICENESS` leaves: a task with less idle time than this is faster with niceness."""

_Job = TypeVar("_Job")

Task = Callable[[_Job, Path, "Progress"], None]
"""A module-level function that turns a job into files in a folder. Calls ``progress`` before each part."""


class CancelledError(Exception):
    """The task was cancelled."""


class BackgroundProcess:
    """Runs tasks one by one, each in a separate process. :meth:`cancel` may be called from any thread.

    Args:
        priority: Priority of the process. ``idle`` becomes ``nice`` if the machine has too little idle time.
        limit_s: Seconds until a task is killed.
        idle_limit_s: Seconds between checks of how much idle time a task gets.
    """

    def __init__(
        self, priority: Priority = "idle", *, limit_s: float = _LIMIT_S, idle_limit_s: float = _IDLE_LIMIT_S
    ) -> None:
        self._priority = priority
        self._limit_s, self._idle_limit_s = limit_s, idle_limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = False

    def run(self, task: Task[_Job], job: _Job, folder: Path, progress: Progress) -> None:
        """Run a task. Blocks: until it has ended, up to the limit.

        Args:
            task: Runs in the process.
            job: The job.
            folder: An existing folder for the results. Only this user may write to it, since the job is unpickled from
                it.
            progress: Called before each part, in the calling thread.

        Raises:
            TimeoutError: It was killed because it did not end in time.
            CancelledError: It was killed by :meth:`cancel`, or not started after that.
            RuntimeError: It failed; the message ends with the process's last lines.
            OSError: The process cannot be started.
        """
        if self._priority == "idle":
            with suppress(TimeoutError):
                self._run(task, job, folder, progress, "idle")
                return
        self._run(task, job, folder, progress, "normal" if self._priority == "normal" else "nice")

    def cancel(self) -> None:
        """Kill the process, if there is one. Nothing runs afterwards."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def _run(self, task: Task[_Job], job: _Job, folder: Path, progress: Progress, priority: Priority) -> None:
        task_file = folder / _TASK
        task_file.write_bytes(pickle.dumps((task, job)))
        period_s = self._idle_limit_s if priority == "idle" else None
        try:
            with self._started(folder, priority) as process:
                assert process.stdout is not None
                limit = _TimeLimit(process, self._limit_s, period_s)
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
                    with self._lock:
                        self._process = None
        finally:
            task_file.unlink(missing_ok=True)
        if self._cancelled:
            raise CancelledError
        if process.returncode == 0:
            return  # also at the moment when the limit was reached
        if limit.exceeded:
            raise TimeoutError(f"it was stopped, because it {limit.exceeded}")
        raise RuntimeError(f"its process ended with code {process.returncode}: {said.strip()}")

    def _started(self, folder: Path, priority: Priority) -> subprocess.Popen[str]:
        with self._lock:
            if self._cancelled:
                raise CancelledError
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(folder), priority],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            return self._process


class _TimeLimit(threading.Thread):
    """Kills a process that does not end in time, or gets too little idle time.

    Args:
        process: The process.
        limit_s: Total seconds.
        period_s: Seconds between checks of its CPU time; None: never.

    Attributes:
        exceeded: Why it was killed; empty if it was not.
    """

    def __init__(self, process: subprocess.Popen[str], limit_s: float, period_s: float | None) -> None:
        super().__init__(name="time limit", daemon=True)
        self.exceeded = ""
        self._process = process
        self._limit_s, self._period_s = limit_s, limit_s if period_s is None else period_s
        self._over = threading.Event()

    def run(self) -> None:
        """Watch until it is cancelled or the process is killed."""
        left_s, computed_s = self._limit_s, 0.0
        while not self._over.wait(period_s := min(self._period_s, left_s)):
            left_s -= period_s
            before_s, computed_s = computed_s, active_s(self._process.pid, waiting=False)
            if left_s <= 0:
                self.exceeded = f"did not end within {self._limit_s:g} s"
            # The sum falls when a compiler that it started exits, which worked until then.
            elif 0 <= computed_s - before_s < _NICE_SHARE * period_s:
                self.exceeded = f"got next to no idle time for {period_s:g} s"
            else:
                continue
            self._process.kill()
            return

    def cancel(self) -> None:
        """Stop watching: the process has ended."""
        self._over.set()


def _progress(line: str) -> tuple[str, float] | None:
    """Return the progress in a line, or None if it comes from a library."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match said:
        case [str(what), int(share) | float(share)] if 0 <= share <= 1:
            return what, float(share)
    return None


def main() -> None:
    """Entry point of the process. Its arguments are the folder and the priority."""
    _end_with_parent()
    folder, priority = Path(sys.argv[1]), sys.argv[2]
    _lower_priority(priority)
    task, job = pickle.loads((folder / _TASK).read_bytes())
    (folder / _TASK).unlink()  # as large as the weights, and no longer needed
    task(job, folder, lambda what, share: print(json.dumps([what, share]), flush=True))


def _lower_priority(priority: str) -> None:
    if priority == "idle":
        with suppress(OSError, AttributeError):  # not Linux, or a service without permission
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    if priority != "normal":
        with suppress(OSError):
            os.nice(_NICENESS)


def _end_with_parent() -> None:
    """Exit if the parent died before this process asked the kernel to be killed with it.

    A thread that waits for the end of standard input would get the interpreter only after the tracing of a network.
    """
    poll = select.poll()
    poll.register(0, 0)  # only errors and hang-ups
    if poll.poll(0):  # the other end was closed before prctl took effect
        os._exit(1)
