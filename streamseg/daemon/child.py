"""One child process as the supervisor sees it: started, watched, restarted with back-off, stopped."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Final, Literal

from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.daemon.process_table import ProcessEntry
from streamseg.daemon.run_child import run_child
from streamseg.daemon.stall_watch import StallWatch
from streamseg.ipc.supervisor_link import OF_SUPERVISOR, STOP, send_message
from streamseg.ipc.supervisor_messages import ChildMessage, PromptsSaved, Report, SupervisorMessage

ChildState = Literal["waiting", "starting", "ready", "restarting", "ended"]

RESTART: Final = BackoffPolicy(first_s=0.5, max_s=30, healthy_s=60)

_SPAWN: Final = multiprocessing.get_context("spawn")
_PLANNED_STOP_S: Final = 2.0

log = logging.getLogger(__name__)


class Child:
    """A process of the process table.

    Args:
        entry: Its entry in the process table.

    Attributes:
        state: ``waiting`` until its first start.
        restarts: Number of starts after the first.
        log_dropped: Log lines dropped, over all its starts.
        failed_starts: Number of deaths in a row before it was ready.
        was_ready: Whether it has been ready at least once.
        killed: Whether it hung and was killed. It may not have exited yet.
    """

    def __init__(self, entry: ProcessEntry) -> None:
        self.name = entry.name
        self.state: ChildState = "waiting"
        self.restarts = 0
        self.log_dropped = self._log_dropped_before = 0
        self.failed_starts = 0
        self.was_ready = False
        self.killed = False
        self._entry = entry
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._backoff = Backoff(RESTART)
        self._watch: StallWatch | None = None
        self._reason = ""
        self._started_at = 0.0
        self._ready_at = 0.0
        self._restart_at: float | None = None
        self._planned_stop_by: float | None = None

    # --- start and stop ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Spawn the process. Must be called in the main thread: the child exits when that thread does."""
        if self._restart_at is not None:
            self.restarts += 1
            self._restart_at = None
        self._planned_stop_by = None
        self._log_dropped_before = self.log_dropped
        self._close_process()
        try:
            self._spawn()
        except OSError as error:  # out of descriptors, memory or processes
            self._started_at = time.monotonic()
            self.state = "starting"
            self.schedule_restart()
            log.error("%s cannot be started: %s: next try in %.1f s", self.name, error, self.restart_in_s())

    def _spawn(self) -> None:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=run_child,
            args=(self.name, self._entry.module, self._entry.args, theirs),
            name=f"streamseg {self.name}",
        )
        # A terminal sends signals to its whole process group: block them until the child ignores them
        # (`ipc/supervisor_link.py`). Starting multiprocessing's helper process lifts the block, so it comes first.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_SUPERVISOR)
        try:
            with _no_main_script():
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # the child has the only copy: its death is an end-of-file here
        self._process, self._connection = process, ours
        self.state = "starting"
        self._started_at = time.monotonic()
        self._reason, self.killed = "", False
        assert process.pid is not None
        self._watch = StallWatch(self._entry, process.pid)

    def replace_entry(self, entry: ProcessEntry) -> None:
        """Use other arguments for later starts."""
        self._entry = entry

    def request_stop(self) -> None:
        """Ask the process to stop. :meth:`terminate` and :meth:`kill` follow if it does not."""
        if self._connection is not None:
            try:
                self._connection.send_bytes(STOP)
            except OSError:
                self._close_connection()

    def stop_for_restart(self, timeout_s: float = _PLANNED_STOP_S) -> None:
        """Stop it for a planned restart; not counted as a crash. Start it when :meth:`planned_restart_due`.

        Args:
            timeout_s: Time to stop by itself. A process that is not ready yet is killed at once.
        """
        self._planned_stop_by = time.monotonic() + (timeout_s if self.state == "ready" else 0.0)
        self._restart_at = None
        self.state = "restarting"
        self.request_stop()

    def planned_restart_due(self) -> bool:
        """Whether it has stopped for a planned restart. Kills a process that does not stop in time."""
        if self._planned_stop_by is None:
            return False
        if self.alive() and time.monotonic() > self._planned_stop_by:
            self.kill()
        return not self.alive()

    def schedule_restart(self) -> None:
        """Record its death and schedule the next start."""
        now = time.monotonic()
        if self.state == "starting":
            self.failed_starts += 1
        self._backoff.succeeded(now - self._started_at)
        self._restart_at = now + self._backoff.next_wait_s()
        self.state = "restarting"
        self._close_process()

    def restart_due(self) -> bool:
        """Whether the back-off is over."""
        return self._restart_at is not None and time.monotonic() >= self._restart_at

    def restart_in_s(self) -> float:
        """Seconds until the next start."""
        return 0.0 if self._restart_at is None else max(0.0, self._restart_at - time.monotonic())

    def retire(self) -> None:
        """Do not restart it when it exits."""
        self.state = "ended"
        self._restart_at = None

    def reap(self) -> None:
        """Release a retired process that has ended, so that :meth:`waitables` no longer holds it."""
        if self.state == "ended" and self._process is not None and not self.alive():
            self._close_process()

    def terminate(self) -> None:
        """Send SIGTERM if it is running."""
        if self.alive():
            assert self._process is not None
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL if it is running, and reap it."""
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            self._process.join(timeout=1.0)

    # --- messages ---------------------------------------------------------------------------------------------------

    def send(self, message: SupervisorMessage, fds: Sequence[int] = ()) -> None:
        """Send a message if the process is running. Its next start gets the same information as arguments.

        A process that does not take the message is killed, since it would continue with outdated information.
        """
        if self._connection is not None and not send_message(self._connection, message, fds):
            self.kill()

    def offer(self, message: SupervisorMessage) -> bool:
        """Send an optional message; return whether it could be sent."""
        return self._connection is not None and send_message(self._connection, message)

    def take_messages(self) -> list[ChildMessage]:
        """Return the messages since the last call."""
        messages: list[ChildMessage] = []
        try:
            while self._connection is not None and self._connection.poll():
                message: ChildMessage = self._connection.recv()
                self._heard(message)
                if self._planned_stop_by is not None and not isinstance(message, PromptsSaved):
                    continue  # outdated: it is about to be replaced
                if isinstance(message, Report) and message.kind == "ready":
                    self.state, self.was_ready, self.failed_starts = "ready", True, 0
                    self._ready_at = time.monotonic()
                messages.append(message)
        except (EOFError, OSError):
            self._close_connection()
        except Exception:  # truncated or corrupt: without a connection it is replaced as a silent process
            log.exception("%s sent an invalid message", self.name)
            self._close_connection()
        return messages

    def _heard(self, message: ChildMessage) -> None:
        assert self._watch is not None
        if isinstance(message, Report):
            self.log_dropped = self._log_dropped_before + message.log_dropped
            self._watch.heard(message.step_s)
            if message.kind == "failed":
                self._reason = message.text
        else:
            self._watch.heard()

    def waitables(self) -> list[object]:
        """Objects for ``multiprocessing.connection.wait``: the pipe and the end of the process."""
        if self._process is None:
            return []
        waitables: list[object] = [self._process.sentinel]
        if self._connection is not None:
            waitables.append(self._connection)
        return waitables

    # --- health -----------------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.is_alive()

    def died(self) -> bool:
        """Whether it has ended unexpectedly and :meth:`schedule_restart` was not called yet."""
        return self.state in ("starting", "ready") and not self.alive()

    def hangs(self) -> bool:
        """Whether it has been silent for too long; also while it survives :meth:`kill_hung`."""
        if self.state not in ("starting", "ready") or self._watch is None or not self.alive():
            return False
        return self._watch.hangs(ready=self.state == "ready")

    def kill_hung(self) -> None:
        """Kill it because it hangs; :meth:`describe_exit` reports this.

        It may live on for a while: a process in a disk wait exits only after it.
        """
        self.killed = True
        self._reason = f"it made no progress for {self.silence_s():.0f} s"
        self.kill()

    def silence_s(self) -> float:
        """Seconds since its last message."""
        return 0.0 if self._watch is None else self._watch.silence_s()

    def reset_silence(self) -> None:
        """Restart the silence timer, because the supervisor itself was not listening."""
        if self._watch is not None:
            self._watch.reset()

    def ready_for_s(self) -> float:
        """Seconds since it became ready; 0 if it is not ready."""
        return time.monotonic() - self._ready_at if self.state == "ready" else 0.0

    def describe_exit(self) -> str:
        """Describe how it ended: exit code or signal, and why, if that is known."""
        code = None if self._process is None else self._process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            known = {number.value: number.name for number in signal.Signals}  # real-time signals have no name
            how = f"killed by {known.get(-code, f'signal {-code}')}"
        return f"{self._reason}: {how}" if self._reason else how

    @property
    def sentinel(self) -> int:
        """Descriptor that becomes readable when the process ends."""
        assert self._process is not None
        return self._process.sentinel

    def _close_process(self) -> None:
        if self._process is not None:
            self._process.join(timeout=1.0)
            self._process.close()
            self._process = None
        self._close_connection()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def stop_children(children: Sequence[Child], *, stop_s: float, terminate_s: float) -> None:
    """Stop processes: ask them, then send SIGTERM, then SIGKILL.

    Blocks: up to ``stop_s + terminate_s``.
    """
    for child in children:
        child.request_stop()
    _join(children, stop_s)
    for child in children:
        child.terminate()
    _join(children, terminate_s)
    for child in children:
        child.kill()


def _join(children: Iterable[Child], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (sentinels := [child.sentinel for child in children if child.alive()]) and time.monotonic() < deadline:
        wait(sentinels, timeout=max(0.0, deadline - time.monotonic()))


@contextlib.contextmanager
def _no_main_script() -> Iterator[None]:
    """Hide ``__main__`` from multiprocessing: the child does not need the script that started the daemon.

    Importing it, and the `streamseg` command with it, would cost 0.1 s of CPU per child.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
