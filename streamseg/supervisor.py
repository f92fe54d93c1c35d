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
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType

import msgspec

from streamseg.child import Child
from streamseg.config.schema import Config
from streamseg.errors import ProcessError
from streamseg.messages.internal import DaemonReport, StreamEvent
from streamseg.messages.wire import EventKind
from streamseg.orders import Report
from streamseg.outbox import Outbox
from streamseg.process_table import PUBLISHER, WORKER, capture_name, process_table
from streamseg.redact import redact
from streamseg.ring.frame_ring import FrameRing
from streamseg.runtime_dir import runtime_parent
from streamseg.sources.open_source import describe
from streamseg.topics import DAEMON

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

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_RESTARTED: dict[str, EventKind] = {
    PUBLISHER: "publisher_restarted",
    WORKER: "worker_restarted",
    "capture": "capture_restarted",
}


class Daemon:
    """One run of streamseg: all processes of a configuration.

    Args:
        config: Checked settings.

    Attributes:
        session: Id of this run, published with every message.
        endpoints: Where masks are published; with a port ``*`` known once the publisher is ready.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.session = secrets.token_hex(4)
        self._stop = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._started = time.monotonic()
        self.endpoints: tuple[str, ...] = config.publish.endpoints
        self._ended: set[str] = set()
        self._failure: Report | None = None
        self._publisher_died: StreamEvent | None = None
        self._fatal: Report | None = None
        self._next_report = 0.0
        self._on_ready: Callable[[], None] | None = None

    def stop(self) -> None:
        """Ask the daemon to end. Safe from any thread and from a signal handler."""
        self._stop.set()
        if self._wake_write >= 0:
            with contextlib.suppress(OSError):  # full: it wakes up anyhow
                os.write(self._wake_write, b"x")

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Run until a signal, :meth:`stop`, the end of all files, or a fatal error.

        Must be called in the main thread, once.

        Args:
            on_ready: Called in this thread when the publisher and the worker are ready.

        Returns:
            0.

        Raises:
            StreamsegError: a fatal error, with the exit code that belongs to it.
        """
        self._on_ready = on_ready
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._close_wake)
            cleanup.enter_context(self._signals())
            runtime = Path(tempfile.mkdtemp(prefix="streamseg-", dir=runtime_parent()))
            cleanup.callback(shutil.rmtree, runtime, ignore_errors=True)
            endpoint = f"ipc://{runtime / 'internal'}"
            lossless = frozenset(
                stream for stream, settings in self._config.streams.items() if not describe(settings).live
            )
            self._rings = {
                stream: FrameRing(policy="every" if stream in lossless else "newest") for stream in self._config.streams
            }
            for ring in self._rings.values():
                cleanup.callback(ring.close)
            self._outbox = Outbox(endpoint)
            cleanup.callback(self._outbox.close)
            table = process_table(
                self._config, self._rings, session=self.session, internal_endpoint=endpoint, lossless=lossless
            )
            self._children = {entry.name: Child(entry) for entry in table}
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
        self._children[PUBLISHER].start()
        self._children[WORKER].start()
        if not self._config.publish.wait_for_subscriber:
            self._start_captures()
        while not self._stop.is_set() and self._fatal is None:
            waiting: list[object] = [self._wake_read]
            for child in self._children.values():
                waiting += child.waitables()
            began = time.monotonic()
            wait(waiting, timeout=_TURN_S)  # type: ignore[arg-type]
            if time.monotonic() - began > _PAUSED_S:
                # Everything was paused (a frozen container, a suspended laptop): nobody was silent by fault.
                for child in self._children.values():
                    child.forgive_silence()
            for child in self._children.values():
                for report in child.take_reports():
                    self._on_report(child, report)
                self._check(child)
            self._send_events()
            self._publish_table()
            if self._drained():
                if self._failure is None:
                    log.info("all sources are at their end")
                self._fatal = self._failure
                return

    def _start_captures(self) -> None:
        for stream in self._config.streams:
            child = self._children[capture_name(stream)]
            if child.state == "waiting":
                child.start()

    def _on_report(self, child: Child, report: Report) -> None:
        match report.kind:
            case "ready":
                log.info("%s is ready", child.name)
                if child.name == PUBLISHER:
                    self._pin_endpoints(child, report.text.split())
                if self._on_ready and all(self._children[name].state == "ready" for name in (PUBLISHER, WORKER)):
                    on_ready, self._on_ready = self._on_ready, None
                    on_ready()
            case "subscribed":
                self._start_captures()
            case "ended":
                self._ended.add(child.name)
                child.retire()
            case "fatal" if child.name.startswith("capture:"):
                self._on_source_failed(child, report)
            case "fatal" if child.was_ready:
                log.error("%s: %s", child.name, redact(report.text))  # it could be had before: try again
            case "fatal":
                self._fatal = report
            case "progress":
                pass

    def _pin_endpoints(self, publisher: Child, addresses: list[str]) -> None:
        """Let a restarted publisher bind the ports that were chosen for the first one."""
        if not any("*" in endpoint for endpoint in self.endpoints):
            return
        self.endpoints = tuple(addresses)
        spec, rings = publisher.args
        publish = msgspec.structs.replace(spec.publish, endpoints=self.endpoints)
        publisher.replace_args((replace(spec, publish=publish), rings))

    def _on_source_failed(self, child: Child, report: Report) -> None:
        """Go on without a source that failed for good; the daemon ends with its error when all others are over."""
        self._ended.add(child.name)
        child.retire()
        self._failure = self._failure or report
        if len(self._config.streams) > 1:
            log.error("%s: %s: the other streams go on", child.name, redact(report.text))

    def _check(self, child: Child) -> None:
        """Restart a child that ended or hangs."""
        if child.hangs():
            log.error("%s made no progress for %.0f s: killed", child.name, child.silence_s())
            child.kill()
        if child.died() and self._fatal is None:
            how = child.describe_exit()
            child.schedule_restart()
            if child.failed_starts >= _STARTS_BEFORE_FATAL and not child.was_ready:
                self._on_report(
                    child,
                    Report("fatal", f"{child.name} ended {child.failed_starts} times before it was ready ({how})", 5),
                )
                return
            log.error("%s ended (%s): restart in %.1f s", child.name, how, child.restart_in_s())
            kind = _RESTARTED[child.name.split(":")[0]]
            stream = child.name.partition(":")[2] or DAEMON
            event = StreamEvent(stream=stream, kind=kind, t_wall_ns=time.time_ns(), detail=how)
            if child.name == PUBLISHER:
                self._publisher_died = event
            else:
                self._outbox.post(event)
        child.collect()
        if child.restart_due():
            child.start()

    def _drained(self) -> bool:
        """Whether every source is at its end and every frame of it was tracked."""
        if len(self._ended) < len(self._config.streams):
            return False
        counters = [ring.counters() for ring in self._rings.values()]
        return all(count.pending == 0 and count.held == 0 for count in counters)

    def _send_events(self) -> None:
        """Send what waits; of the publisher's own death only when subscribers have had time to reconnect."""
        self._outbox.flush()
        if self._publisher_died is not None and self._children[PUBLISHER].ready_for_s() > _RECONNECT_S:
            self._outbox.post(self._publisher_died)
            self._publisher_died = None

    def _publish_table(self) -> None:
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + _REPORT_S
        self._outbox.send(
            DaemonReport(
                uptime_s=now - self._started,
                processes={child.name: child.state for child in self._children.values()},
                restarts={child.name: child.restarts for child in self._children.values()},
            )
        )

    def _stop_children(self) -> None:
        """End all children: the publisher last, so that it can still send what the others gave it."""
        others = [child for child in self._children.values() if child.name != PUBLISHER]
        for group in (others, [self._children[PUBLISHER]]):
            for child in group:
                child.ask_to_stop()
            _join(group, _STOP_S)
            for child in group:
                child.terminate()
            _join(group, _TERMINATE_S)
            for child in group:
                child.kill()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGHUP (a closed terminal) into :meth:`stop` while the daemon runs."""

        def on_signal(number: int, _frame: FrameType | None) -> None:
            log.info("%s: ending", signal.Signals(number).name)
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


def _fatal_error(report: Report) -> ProcessError:
    error = ProcessError(redact(report.text))
    error.exit_code = report.exit_code
    return error
