"""One child process as the supervisor sees it: started, heard, restarted with back-off, ended."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Final, Literal

from streamseg.daemon.process_table import ProcessEntry, run_child
from streamseg.ipc.supervisor_link import OF_SUPERVISOR, STOP, send_message
from streamseg.ipc.supervisor_messages import ChildMessage, Report, SupervisorMessage

ChildState = Literal["waiting", "starting", "ready", "restarting", "ended"]

_SPAWN: Final = multiprocessing.get_context("spawn")
_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_LAST_S: Final = 30.0
_HEALTHY_S: Final = 60.0
"""A child that ran for so long starts its back-off anew."""

_RENEW_S: Final = 2.0


class Child:
    """A process of the table.

    Args:
        entry: What it runs.

    Attributes:
        state: ``waiting`` until its first start.
        restarts: Starts after the first.
        failed_starts: Deaths in a row before it was ready.
        was_ready: It has been ready once in this session.
    """

    def __init__(self, entry: ProcessEntry) -> None:
        self.name = entry.name
        self.state: ChildState = "waiting"
        self.restarts = 0
        self.failed_starts = 0
        self.was_ready = False
        self._entry = entry
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._backoff_s = _BACKOFF_FIRST_S
        self._started_at = 0.0
        self._heard_at = 0.0
        self._ready_at = 0.0
        self._restart_at: float | None = None
        self._renewing_until: float | None = None

    def start(self) -> None:
        """Spawn the process. Must be called in the main thread: the child ends when that thread does."""
        if self._restart_at is not None:
            self.restarts += 1
            self._restart_at = None
        self._renewing_until = None
        self._close_process()
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=run_child,
            args=(self.name, self._entry.module, self._entry.args, theirs),
            name=f"streamseg {self.name}",
        )
        # A terminal signals its whole group: hold that back until the child ignores it (`ipc/supervisor_link.py`).
        # multiprocessing's own helper process is started first, because starting it lifts the block.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_SUPERVISOR)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # the child's copy is the only one: its death is an end-of-file here
        self._process, self._connection = process, ours
        self.state = "starting"
        self._started_at = self._heard_at = time.monotonic()

    def waitables(self) -> list[object]:
        """What the supervisor waits for: the pipe and the process's end."""
        if self._process is None:
            return []
        waiting: list[object] = [self._process.sentinel]
        if self._connection is not None:
            waiting.append(self._connection)
        return waiting

    @property
    def sentinel(self) -> int:
        """Descriptor that is readable when the process has ended."""
        assert self._process is not None
        return self._process.sentinel

    def take_messages(self) -> list[ChildMessage]:
        """Return what the child said since the last call."""
        reports: list[ChildMessage] = []
        try:
            while self._connection is not None and self._connection.poll():
                report: ChildMessage = self._connection.recv()
                self._heard_at = time.monotonic()
                if self._renewing_until is not None:
                    continue  # what it says of itself is no longer so
                if isinstance(report, Report) and report.kind == "ready":
                    self.state, self.was_ready, self.failed_starts = "ready", True, 0
                    self._ready_at = self._heard_at
                reports.append(report)
        except (EOFError, OSError):
            self._close_connection()
        return reports

    def hangs(self) -> bool:
        """Whether it has been silent for longer than it may."""
        if self.state not in ("starting", "ready"):
            return False
        limit = self._entry.silence_timeout_s if self.state == "ready" else self._entry.ready_timeout_s
        return self.alive() and self.silence_s() > limit

    def forgive_silence(self) -> None:
        """Count its silence from now: it was the supervisor that could not listen."""
        self._heard_at = time.monotonic()

    def silence_s(self) -> float:
        """Seconds since it was last heard."""
        return time.monotonic() - self._heard_at

    def ready_for_s(self) -> float:
        """Seconds since it became ready; 0 if it is not."""
        return time.monotonic() - self._ready_at if self.state == "ready" else 0.0

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    def died(self) -> bool:
        """Whether it has ended and nothing was done about it yet."""
        return self.state in ("starting", "ready") and not self.alive()

    def describe_exit(self) -> str:
        """How it ended, for people."""
        code = None if self._process is None else self._process.exitcode
        if code is not None and code < 0:
            known = {number.value: number.name for number in signal.Signals}  # real-time signals have no name
            return f"killed by {known.get(-code, f'signal {-code}')}"
        return f"exit code {code}"

    def schedule_restart(self) -> None:
        """Take note of its death and set the time of its next start."""
        now = time.monotonic()
        if self.state == "starting":
            self.failed_starts += 1
        if now - self._started_at > _HEALTHY_S:
            self._backoff_s = _BACKOFF_FIRST_S
        self._restart_at = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_LAST_S)
        self.state = "restarting"
        self._close_process()

    def retire(self) -> None:
        """Do not start it again when it ends."""
        self.state = "ended"
        self._restart_at = None

    def collect(self) -> None:
        """Forget the process of a retired child that has ended, so that nobody waits for it."""
        if self.state == "ended" and self._process is not None and not self.alive():
            self._close_process()

    def replace_entry(self, entry: ProcessEntry) -> None:
        """Give its later starts other arguments."""
        self._entry = entry

    def restart_in_s(self) -> float:
        """Seconds until its next start."""
        return 0.0 if self._restart_at is None else max(0.0, self._restart_at - time.monotonic())

    def restart_due(self) -> bool:
        """Whether it is time for its next start."""
        return self._restart_at is not None and time.monotonic() >= self._restart_at

    def ask_to_stop(self) -> None:
        """Say that it should end; it has until :meth:`terminate`."""
        if self._connection is not None:
            try:
                self._connection.send_bytes(STOP)
            except OSError:
                self._close_connection()

    def send(self, message: SupervisorMessage, fds: Sequence[int] = ()) -> None:
        """Give it an order, if it runs; its next start is to know of it anyway.

        One that takes none is killed, since it would go on with what is no longer so.
        """
        if self._connection is not None and not send_message(self._connection, message, fds):
            self.kill()

    def renew(self) -> None:
        """Have it end, so that it can be started anew as soon as :meth:`renewal_due`; nothing of that is a fault."""
        self._renewing_until = time.monotonic() + _RENEW_S
        self._restart_at = None
        self.state = "restarting"
        self.ask_to_stop()

    def renewal_due(self) -> bool:
        """Whether it has ended in order to be started anew. One that does not end in time is killed."""
        if self._renewing_until is None:
            return False
        if self.alive() and time.monotonic() > self._renewing_until:
            self.kill()
        return not self.alive()

    def terminate(self) -> None:
        """Send SIGTERM if it still runs."""
        if self.alive():
            assert self._process is not None
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL if it still runs, and collect it."""
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            self._process.join(timeout=1.0)

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
