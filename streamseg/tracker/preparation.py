"""Prepares a faster engine while eager torch runs the model: in a thread, with a separate process for long work.

Shared by the OpenVINO engine and the compiling engine. Each decides what to swap, and when.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from streamseg.tracker.background import CancelledError, Task
from streamseg.tracker.engine import Progress

log = logging.getLogger(__name__)

_STOP_S: Final = 10.0
"""Longest wait at exit for a part that is being loaded, which takes a tenth of a second."""

_Job = TypeVar("_Job")


class Process(Protocol):
    """Runs the long work, see :class:`~streamseg.tracker.background.BackgroundProcess`."""

    def run(self, task: Task[_Job], job: _Job, folder: Path, progress: Progress) -> None:
        """Run it. Blocks until it has ended."""
        ...

    def cancel(self) -> None:
        """End it, from any thread."""
        ...


class Preparation:
    """One preparation of one engine.

    Args:
        name: Name of the backend, for display: ``OpenVINO``.
        doing: The long work, for display: ``converting``.
        process: Runs the long work.

    Attributes:
        state: State for display: ``eager``, ``eager (loading)``, ``eager (converting 40 %)``, ``eager (OpenVINO
            failed)``; the engine sets it once it is prepared.
    """

    def __init__(self, name: str, doing: str, process: Process) -> None:
        self._name, self._doing, self._process = name, doing, process
        self.state = "eager"
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._in_process = False  # the thread waits for the process, and does not use the engine

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def run(self, prepare: Callable[[], None]) -> None:
        """Prepare. A failure is logged and becomes the state; eager torch goes on."""
        try:
            prepare()
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - compilers raise many kinds
            self.fail(error)

    def start(self, prepare: Callable[[], None]) -> None:
        """Do the same in a thread. Before it needs the process, it loads earlier results."""
        if self.state == "eager":
            self.state = "eager (loading)"
        self._thread = threading.Thread(target=self.run, args=(prepare,), name=self._name, daemon=True)
        # If the interpreter exits before the thread has ended, the process aborts.
        atexit.register(_stop_if_used, weakref.ref(self))
        self._thread.start()

    def fail(self, error: Exception) -> None:
        """Stay eager."""
        self.state = f"eager ({self._name} failed)"
        log.error("%s failed, eager torch runs the model: %s", self._name, error)

    def run_process(self, task: Task[_Job], job: _Job, folder: Path, progress: Progress) -> None:
        """Run the long work, and show its progress in the state.

        Raises:
            CancelledError: The preparation was stopped.
            RuntimeError, TimeoutError, OSError: See :meth:`BackgroundProcess.run`.
        """

        def begin(what: str, share: float) -> None:
            self.state = f"eager ({self._doing} {100 * share:.0f} %)"
            progress(what, share)

        begin(f"{self._doing} the model", 0.0)
        self._in_process = True
        try:
            self._process.run(task, job, folder, begin)
        finally:
            self._in_process = False
        self.check()

    def check(self) -> None:
        """Return if the preparation goes on.

        Raises:
            CancelledError: It was stopped.
        """
        if self._stopping.is_set():
            raise CancelledError

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def stop(self) -> None:
        """Stop the process and the thread. Blocks: a tenth of a second for a part that is being loaded.

        Does not wait for the process: on a busy machine, a process with only idle time takes long even to be killed.
        """
        self._stopping.set()
        self._process.cancel()
        if not self._in_process:
            self.join(_STOP_S)


def _stop_if_used(preparation: weakref.ref[Preparation]) -> None:
    """Stop a preparation if it still exists, which it does while its thread runs."""
    found = preparation()
    if found is not None:
        found.stop()
