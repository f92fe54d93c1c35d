"""The supervisor: spawns the daemon's processes, watches them, and is the one place for signals.

It runs in the main thread of `streamseg run`. It owns what must outlive a child: the rings and the runtime directory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType

from streamseg.common.redact import redact
from streamseg.config.schema import Config
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import CONTROL, PUBLISHER, WEB, WORKER, ProcessTable
from streamseg.daemon.stream_requests import StreamRequests
from streamseg.daemon.stream_set import StreamSet
from streamseg.errors import ControlError, ProcessError, StreamsegError
from streamseg.ipc.commands import Command
from streamseg.ipc.endpoints import remove_left_behind
from streamseg.ipc.messages import DaemonReport, StreamEvent
from streamseg.ipc.publisher_socket import PublisherSocket
from streamseg.ipc.supervisor_messages import ChildMessage, PromptsSaved, Report, WorkerGone
from streamseg.paths import default_control_endpoint, sockets_parent
from streamseg.protocol.published import EventKind
from streamseg.protocol.topics import DAEMON

log = logging.getLogger(__name__)

_TURN_S = 0.25
_REPORT_S = 1.0
# Twice (the publisher ends last), with a turn of the loop: well under 3 s.
_STOP_S = 0.8
_TERMINATE_S = 0.4
_STARTS_BEFORE_FATAL = 3
_PAUSED_S = 2.0
_RECONNECT_S = 1.0
"""libzmq's subscribers try every 0.1 s."""

_OWN = (PUBLISHER, WORKER, CONTROL)
"""Processes that there are whatever the streams."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_RESTARTED: dict[str, EventKind] = {
    PUBLISHER: "publisher_restarted",
    WORKER: "worker_restarted",
    CONTROL: "control_restarted",
    WEB: "web_restarted",
    "capture": "capture_restarted",
}


class Daemon:
    """One run of streamseg: all processes of a configuration.

    Args:
        config: Checked settings.
        read_config: Reads the configuration file anew, for a reload; None if there is none.

    Attributes:
        session: Id of this run, published with every message.
        endpoints: Where masks are published; with a port ``*`` known once the publisher is ready.
        control_endpoint: Where the daemon can be told what to do; known once the control process is ready.
        page: Address of the page, once it can be asked for; None without one.
    """

    def __init__(self, config: Config, read_config: Callable[[], Config] | None = None) -> None:
        self._config = config
        self._read_config = read_config
        self.session = secrets.token_hex(4)
        self._stop = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._started = time.monotonic()
        self.endpoints: tuple[str, ...] = config.publish.endpoints
        self.control_endpoint = ""
        self.page: str | None = None
        self._children: dict[str, Child] = {}
        self._reload = threading.Event()
        self._failures: dict[str, Report] = {}
        self._publisher_died: StreamEvent | None = None
        self._fatal: Report | None = None
        self._next_report = 0.0
        self._on_ready: Callable[[], None] | None = None

    def stop(self) -> None:
        """Ask the daemon to end. Safe from any thread and from a signal handler."""
        self._stop.set()
        self._wake()

    def _wake(self) -> None:
        if self._wake_write >= 0:
            with contextlib.suppress(OSError):  # full: it wakes up anyhow
                os.write(self._wake_write, b"x")

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Run until a signal, :meth:`stop`, the end of all files, or a fatal error.

        Must be called in the main thread, once.

        Args:
            on_ready: Called in this thread when all processes but those of captures are ready.

        Returns:
            0.

        Raises:
            StreamsegError: a fatal error, with the exit code that belongs to it.
        """
        self._on_ready = on_ready
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._close_wake)
            cleanup.enter_context(self._signals())
            runtime = Path(tempfile.mkdtemp(prefix="streamseg-", dir=sockets_parent()))
            cleanup.callback(shutil.rmtree, runtime, ignore_errors=True)
            self._table = ProcessTable(self._config, session=self.session, runtime=runtime)
            self._publisher_socket = PublisherSocket(self._table.internal_endpoint)
            cleanup.callback(self._publisher_socket.close)
            self._streams = StreamSet(self._table, self._children, self._publisher_socket)
            cleanup.callback(self._streams.close)
            for stream, settings in self._config.streams.items():
                self._streams.add(stream, settings, from_file=self._read_config is not None)
            self._requests = StreamRequests(self._config, self._streams, self._read_config)
            entries = [self._table.publisher, self._table.worker, self._table.control]
            if self._config.http.listen is not None:
                entries.append(self._table.web)
            for entry in entries:
                child = Child(entry(self._streams.running))
                self._children[child.name] = child
            cleanup.callback(self._remove_left_behind)
            cleanup.callback(self._stop_children)
            self._supervise()
        if self._fatal is not None:
            raise _fatal_error(self._fatal)
        return 0

    def _close_wake(self) -> None:
        """Close the descriptors so that a late :meth:`stop` does not write into somebody else's."""
        write, self._wake_write = self._wake_write, -1
        os.close(write)
        os.close(self._wake_read)

    # One turn of the loop takes at most _TURN_S, so no time-out below needs a timer of its own.
    def _supervise(self) -> None:
        for name in _OWN:
            self._children[name].start()
        if not self._config.publish.wait_for_subscriber:
            self._streams.start_captures()
        while not self._stop.is_set() and self._fatal is None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            if self._stop.is_set():
                return
            waiting: list[object] = [self._wake_read]
            for child in self._children.values():
                waiting += child.waitables()
            began = time.monotonic()
            wait(waiting, timeout=_TURN_S)  # type: ignore[arg-type]
            if time.monotonic() - began > _PAUSED_S:
                # Everything was paused (a frozen container, a suspended laptop): nobody was silent by fault.
                for child in self._children.values():
                    child.forgive_silence()
            for child in tuple(self._children.values()):
                if self._children.get(child.name) is not child:
                    continue  # its stream was removed in this turn
                self._listen(child)
                self._check(child)
            self._streams.tend()
            if self._reload.is_set():
                self._reload.clear()
                self._reload_config()
            self._send_events()
            self._publish_table()
            if self._streams.drained():
                failures = [report for name, report in self._failures.items() if name in self._children]
                if failures:
                    self._fatal = failures[0]
                else:
                    log.info("all sources are at their end")
                return

    def _listen(self, child: Child) -> None:
        for said in child.take_messages():
            self._on_said(child, said)

    def _on_said(self, child: Child, said: ChildMessage) -> None:
        match said:
            case Report():
                self._on_report(child, said)
            case PromptsSaved():
                self._streams.keep(said)
            case Command():
                child.send(self._requests.carry_out(said))

    def _reload_config(self) -> None:
        try:
            self._requests.reload()
        except ControlError as error:
            log.error("the configuration stays as it is: %s", error)
        except (StreamsegError, OSError):  # no descriptor or process was to be had
            log.exception("the configuration was read anew in part")

    def _on_report(self, child: Child, report: Report) -> None:
        match report.kind:
            case "ready":
                log.info("%s is ready", child.name)
                self._failures.pop(child.name, None)  # of an earlier source
                if child.name == PUBLISHER:
                    self.endpoints = self._table.publish = tuple(report.text.split())
                    self._children[CONTROL].send(self._table.info(self._streams.running))
                if child.name == CONTROL:
                    self.control_endpoint = self._table.control_endpoint = report.text
                    self._start_web()
                if child.name == WEB:
                    self.page = report.text
                    self._table.listen = report.text.removeprefix("http://").rstrip("/")
                if self._on_ready and all(self._children[name].state == "ready" for name in self._awaited()):
                    on_ready, self._on_ready = self._on_ready, None
                    on_ready()
            case "subscribed":
                self._streams.start_captures()
            case "ended":
                child.retire()
            case "fatal" if child.name.startswith("capture:"):
                self._on_source_failed(child, report)
            case "fatal" if child.was_ready:
                log.error("%s: %s", child.name, redact(report.text))  # it could be had before: try again
            case "fatal":
                self._fatal = report
            case "progress":
                pass

    def _start_web(self) -> None:
        """Start the web process, now that it can be told where the daemon takes requests."""
        web = self._children.get(WEB)
        if web is not None and web.state == "waiting":
            self._start_again(web)

    def _awaited(self) -> tuple[str, ...]:
        """Processes that have to be ready before the daemon is."""
        return (*_OWN, WEB) if WEB in self._children else _OWN

    def _on_source_failed(self, child: Child, report: Report) -> None:
        """Go on without a source that failed for good; the daemon ends with its error when all others are over."""
        child.retire()
        self._failures[child.name] = report
        if len(self._streams.running) > 1:
            log.error("%s: %s: the other streams go on", child.name, redact(report.text))

    def _check(self, child: Child) -> None:
        """Restart a child that ended or hangs."""
        if child.hangs():
            log.error("%s made no progress for %.0f s: killed", child.name, child.silence_s())
            child.kill()
        if child.died() and self._fatal is None:
            self._listen(child)  # what it said last
            if not child.died():
                return
            how = child.describe_exit()
            child.schedule_restart()
            if child.failed_starts >= _STARTS_BEFORE_FATAL and not child.was_ready:
                self._on_report(
                    child,
                    Report("fatal", f"{child.name} ended {child.failed_starts} times before it was ready ({how})", 5),
                )
                return
            if child.name == WORKER:
                self._children[CONTROL].send(WorkerGone())
            log.error("%s ended (%s): restart in %.1f s", child.name, how, child.restart_in_s())
            kind = _RESTARTED[child.name.split(":")[0]]
            stream = child.name.partition(":")[2] or DAEMON
            event = StreamEvent(stream=stream, kind=kind, t_wall_ns=time.time_ns(), detail=how)
            if child.name == PUBLISHER:
                self._publisher_died = event
            else:
                self._publisher_socket.send_reliable(event)
        child.collect()
        if child.restart_due() or child.renewal_due():
            self._start_again(child)

    def _start_again(self, child: Child) -> None:
        """Start a child with what is so now."""
        entries = {
            PUBLISHER: self._table.publisher,
            WORKER: self._table.worker,
            CONTROL: self._table.control,
            WEB: self._table.web,
        }
        if child.name in entries:
            child.replace_entry(entries[child.name](self._streams.running))
        child.start()

    def _send_events(self) -> None:
        """Send what waits; of the publisher's own death only when subscribers have had time to reconnect."""
        self._publisher_socket.flush()
        if self._publisher_died is not None and self._children[PUBLISHER].ready_for_s() > _RECONNECT_S:
            self._publisher_socket.send_reliable(self._publisher_died)
            self._publisher_died = None

    def _publish_table(self) -> None:
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + _REPORT_S
        self._publisher_socket.try_send(
            DaemonReport(
                uptime_s=now - self._started,
                processes={child.name: child.state for child in self._children.values()},
                restarts={child.name: child.restarts for child in self._children.values()},
            )
        )

    def _stop_children(self) -> None:
        """End all children: the publisher last, so that it can still send what the others gave it."""
        others = [child for child in self._children.values() if child.name != PUBLISHER] + self._streams.leaving()
        for group in (others, [self._children[PUBLISHER]]):
            for child in group:
                child.ask_to_stop()
            _join(group, _STOP_S)
            for child in group:
                child.terminate()
            _join(group, _TERMINATE_S)
            for child in group:
                child.kill()

    def _remove_left_behind(self) -> None:
        """Remove the files of sockets that a child had no time to remove (a busy machine at the end of its start)."""
        control = self.control_endpoint or self._config.control.endpoint or default_control_endpoint()
        for endpoint in (*self._config.publish.endpoints, control):
            remove_left_behind(endpoint)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into :meth:`stop` while the daemon runs, and SIGHUP into a reload.

        Without a file there is nothing to reload: SIGHUP ends the daemon. So it does when it says that the terminal is
        gone on which the daemon was started.
        """
        had_terminal = _has_terminal()

        def on_signal(number: int, _frame: FrameType | None) -> None:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and self._read_config is not None and _has_terminal() == had_terminal:
                log.info("%s: reading the configuration anew", name)
                self._reload.set()
                self._wake()
                return
            log.info("%s: ending", name)
            self.stop()

        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _join(children: list[Child], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (sentinels := [child.sentinel for child in children if child.alive()]) and time.monotonic() < deadline:
        wait(sentinels, timeout=max(0.0, deadline - time.monotonic()))


def _has_terminal() -> bool:
    return os.isatty(0) or os.isatty(2)


def _fatal_error(report: Report) -> ProcessError:
    error = ProcessError(redact(report.text))
    error.exit_code = report.exit_code
    return error
