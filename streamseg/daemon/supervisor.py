"""The supervisor: spawns the daemon's processes, watches them, and handles signals.

It runs in the main thread of `streamseg run` and owns what must outlive a child: the rings and the runtime directory.

Ours because it hands the open descriptors of the rings to children that come and go, while masks keep flowing.
supervisord and circus start programs that share nothing, and systemd restarts the daemon as a whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from streamseg.common.locked_folder import locked_folder
from streamseg.common.redact import redact
from streamseg.config.schema import Config, ModelConfig
from streamseg.daemon.announcer import Announcer
from streamseg.daemon.child import Child, stop_children
from streamseg.daemon.clip_requests import ClipRequests
from streamseg.daemon.kept_state import KeptState
from streamseg.daemon.process_table import CONTROL, PUBLISHER, RECORDER, WEB, WORKER, ProcessTable, is_prompter
from streamseg.daemon.service_manager import ServiceManager, describe
from streamseg.daemon.signals import LoopControl
from streamseg.daemon.stream_requests import StreamRequests
from streamseg.daemon.stream_set import StreamSet
from streamseg.errors import ControlError, ProcessError, StateError
from streamseg.ipc.commands import Command, Outcome
from streamseg.ipc.endpoints import remove_stale_socket
from streamseg.ipc.supervisor_messages import ChildMessage, PromptsSaved, Report, SaveMasks, WorkerGone
from streamseg.paths import default_control_endpoint, sockets_parent
from streamseg.state.place import state_folder

log = logging.getLogger(__name__)

_POLL_S: Final = 0.25
"""Longest wait of the loop, so that no timeout of the supervisor needs its own timer."""
_STOP_S: Final = 0.8
_TERMINATE_S: Final = 0.4
"""Both can be spent twice, since the publisher stops last: with one turn of the loop, well under 3 s in total."""
_MAX_FAILED_STARTS: Final = 3
_SAVE_MASKS_S: Final = 10.0
"""Time for a worker to finish a batch and save its masks before it is replaced."""
_SUSPENDED_S: Final = 2.0
"""If a turn takes longer than this, the machine was suspended or the loop itself was busy."""

_REQUIRED: Final = (WORKER, PUBLISHER, CONTROL)
"""Processes that every daemon has. The worker starts first, since it takes longest."""


class Daemon:
    """One run of streamseg: all processes of a configuration.

    Args:
        config: Checked settings.
        read_config: Reads the configuration file again, for a reload; None if there is none.
        config_file: Path of the configuration file; None if there is none: then nothing is kept on disk.

    Attributes:
        session: Id of this run, published with every message.
        endpoints: Addresses at which masks are published. Ports ``*`` become real ones once the publisher is ready.
        control_endpoint: Address for requests; empty until the control process is ready.
        page: Address of the web page once it is ready; None without one.
    """

    def __init__(
        self, config: Config, read_config: Callable[[], Config] | None = None, config_file: Path | None = None
    ) -> None:
        self._config = config
        self._config_file = config_file
        self._kept: KeptState | None = None
        self._forget_state = False
        self._read_config = read_config
        self.session = secrets.token_hex(4)
        self.endpoints: tuple[str, ...] = config.publish.endpoints
        self.control_endpoint = ""
        self.page: str | None = None
        self._control = LoopControl()
        self._children: dict[str, Child] = {}
        self._source_failures: dict[str, Report] = {}
        self._fatal: Report | None = None
        self._old_model: ModelConfig | None = None
        self._on_ready: Callable[[], None] | None = None
        self._worker_status = ""

    def stop(self) -> None:
        """Ask the daemon to stop. Safe from any thread and from a signal handler."""
        self._control.stop()

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Run until a signal, :meth:`stop`, the end of all files, or a fatal error.

        Must be called in the main thread, once.

        Args:
            on_ready: Called in this thread when all processes except captures are ready.

        Returns:
            0.

        Raises:
            StreamsegError: a fatal error, with its exit code.
        """
        self._on_ready = on_ready
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._control.close)
            self._service = ServiceManager(os.environ)
            cleanup.callback(self._service.close)
            cleanup.enter_context(self._control.handle_signals(can_reload=self._read_config is not None))
            runtime = cleanup.enter_context(locked_folder(sockets_parent(), "streamseg-run-"))
            self._kept = self._open_state()
            if self._kept is not None:
                cleanup.callback(self._kept.close)
            kept = self._kept.path if self._kept is not None else None
            self._table = ProcessTable(self._config, session=self.session, runtime=runtime, kept=kept)
            self._announcer = Announcer(self._table.internal_endpoint)
            cleanup.callback(self._announcer.close)
            self._streams = StreamSet(self._table, self._children, self._announcer)
            cleanup.callback(self._streams.close)
            self._add_streams()
            self._requests = StreamRequests(self._table, self._streams, self._read_config, self._change_model)
            self._clip_requests = ClipRequests(self._table, self._children)
            wanted = {WEB: self._config.http.listen is not None, RECORDER: self._table.records}
            for name in (*_REQUIRED, *(name for name, is_wanted in wanted.items() if is_wanted)):
                self._children[name] = Child(self._table.entry(name, self._streams.running))
            cleanup.callback(self._remove_stale_sockets)
            cleanup.callback(self._write_state)
            cleanup.callback(self._stop_children)
            cleanup.callback(self._service.stopping)
            self._supervise()
        if self._fatal is not None:
            error = ProcessError(redact(self._fatal.text))
            error.exit_code = self._fatal.exit_code
            raise error
        return 0

    def _open_state(self) -> KeptState | None:
        """Open the state of earlier runs, if state is kept."""
        if self._config_file is None or not self._config.state.keep:
            return None
        try:
            return KeptState(state_folder(self._config_file, self._config.state.path), self._config_file)
        except StateError as error:
            log.error("%s: nothing is kept for the next start", error)
            return None

    def _add_streams(self) -> None:
        if self._kept is not None:
            for stream, (settings, saved, from_file) in self._kept.streams(self._config).items():
                ring = self._streams.make_ring(settings)
                self._streams.add(stream, settings, ring, from_file=from_file, saved=saved)
            return
        for stream, settings in self._config.streams.items():
            ring = self._streams.make_ring(settings)
            self._streams.add(stream, settings, ring, from_file=self._read_config is not None)

    def _write_state(self) -> None:
        """Write streams and objects to disk if state is kept and has changed. Clear it once all files have ended."""
        if self._kept is not None and self._forget_state:
            self._kept.clear()
        elif self._kept is not None and self._streams.changed:
            self._streams.changed = not self._kept.write(self._streams.running)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        for name in (*_REQUIRED, RECORDER):
            if name in self._children:
                self._children[name].start()
        if not self._config.publish.wait_for_subscriber:
            self._streams.enable_captures()
        self._looked_at = time.monotonic()
        while self._fatal is None:
            self._control.drain()
            if self._control.stop_requested.is_set():
                return
            self._wait()
            for child in tuple(self._children.values()):
                if self._children.get(child.name) is child:  # else its stream was removed in this turn
                    self._handle_messages(child)
                    self._check(child)
            self._streams.start_due()
            self._streams.reap()
            self._write_state()
            if self._control.reload_requested.is_set():
                self._control.reload_requested.clear()
                self._reload()
            self._announcer.tick(self._children.values(), self._children[PUBLISHER].ready_for_s())
            states = {child.name: child.state for child in self._children.values()}
            # A hung worker is killed in the next turn: the watchdog fires only if that fails.
            self._service.tick(describe(states, self._worker_status), healthy=not self._children[WORKER].hangs())
            if self._streams.drained():
                self._end_drained()
                return

    def _wait(self) -> None:
        """Wait for a message, the end of a process, a signal, or the next turn."""
        waitables: list[object] = [self._control]
        for child in self._children.values():
            waitables += child.waitables()
        wait(waitables, timeout=_POLL_S)  # type: ignore[arg-type]
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        if self._looked_at - looked_at > _SUSPENDED_S:
            # A frozen container, a suspended laptop, or a busy loop: no process is to blame for its silence.
            for child in self._children.values():
                child.reset_silence()

    def _end_drained(self) -> None:
        failures = [report for name, report in self._source_failures.items() if name in self._children]
        if failures:
            self._fatal = failures[0]
        else:
            log.info("all sources are at their end")
            if self._kept is not None:
                self._forget_state = True

    def _reload(self) -> None:
        self._service.reloading()
        try:
            self._requests.reload()
        except ControlError as error:
            log.error("the configuration stays as it is: %s", error)
        except Exception:  # whatever is wrong with the file, it must not end the daemon
            log.exception("the configuration stays as it is")
        finally:
            self._service.reloaded()

    # --- messages ---------------------------------------------------------------------------------------------------

    def _handle_messages(self, child: Child) -> None:
        for message in child.take_messages():
            self._handle_message(child, message)

    def _handle_message(self, child: Child, message: ChildMessage) -> None:
        match message:
            case Report():
                self._on_report(child, message)
            case PromptsSaved():
                self._streams.save(message)
            case Command(op="record_clip"):
                if (failed := self._clip_requests.forward(message)) is not None:
                    child.send(failed)
            case Command():
                child.send(self._requests.handle(message))
            case Outcome():
                self._children[CONTROL].send(message)

    def _on_report(self, child: Child, report: Report) -> None:
        match report.kind:
            case "ready":
                self._on_child_ready(child, report)
            case "subscribed":
                self._announcer.subscribed()
                self._streams.enable_captures()
            case "ended":
                child.retire()
            case "fatal" if child.name.startswith("capture:"):
                self._on_source_failed(child, report)
            case "fatal" if is_prompter(child.name):
                self._on_prompter_failed(child, redact(report.text))
            case "fatal" if child.name == WORKER and self._old_model is not None:
                log.error("the new model cannot be used: %s", redact(report.text))
                self._restore_model()
            case "fatal" if child.was_ready:
                log.error("%s: %s", child.name, redact(report.text))  # it worked before, so it is restarted
            case "fatal":
                self._fatal = report
            case "progress" if child.name == WORKER:
                self._on_worker_progress(child, report)
            case "progress":
                pass

    def _on_worker_progress(self, worker: Child, report: Report) -> None:
        if worker.state == "ready":
            self._worker_status = report.text
        else:
            self._service.starting(report.text)

    def _on_child_ready(self, child: Child, report: Report) -> None:
        log.info("%s is ready", child.name)
        self._source_failures.pop(child.name, None)  # an earlier source's
        if child.name == PUBLISHER:
            self.endpoints = self._table.publish = tuple(report.text.split())
            self._children[CONTROL].send(self._table.info(self._streams.running))
        elif child.name == CONTROL:
            self.control_endpoint = self._table.control_endpoint = report.text
            self._start_web()
        elif child.name == WORKER:
            self._old_model = None  # the new one works
            self._worker_status = ""  # it was about the warm-up
        elif child.name == WEB:
            self.page = report.text
            self._table.listen = report.text.partition("://")[2].rstrip("/")
        awaited = (*_REQUIRED, WEB) if WEB in self._children else _REQUIRED
        if all(self._children[name].state == "ready" for name in awaited):
            self._service.ready()
            if self._on_ready is not None:
                on_ready, self._on_ready = self._on_ready, None
                on_ready()

    def _start_web(self) -> None:
        """Start the web process, which needs the address of the control process."""
        web = self._children.get(WEB)
        if web is not None and web.state == "waiting":
            self._start(web)

    def _on_source_failed(self, child: Child, report: Report) -> None:
        """Continue without a source that failed for good. Once all others have ended, the daemon exits with it."""
        child.retire()
        self._source_failures[child.name] = report
        if len(self._streams.running) > 1:
            log.error("%s: %s: the other streams continue", child.name, redact(report.text))

    def _on_prompter_failed(self, child: Child, why: str) -> None:
        """Continue without a prompter that cannot run with its settings."""
        child.retire()
        log.error("%s: %s: it is not started again until its settings change", child.name, why)
        self._announcer.prompter_failed(child.name, why)

    # --- health of the children -------------------------------------------------------------------------------------

    def _check(self, child: Child) -> None:
        """Restart a child that has ended or hangs."""
        if child.hangs() and not child.killed:
            log.error("%s made no progress for %.0f s: killed", child.name, child.silence_s())
            child.kill_hung()
        if child.died() and self._fatal is None:
            self._handle_messages(child)  # its last messages may explain its death
            if child.died():
                self._on_died(child)
        child.reap()
        of_stream = child.name.startswith("capture:") or is_prompter(child.name)  # started by the stream set
        if not of_stream and (child.restart_due() or child.planned_restart_due()):
            self._start(child)

    def _on_died(self, child: Child) -> None:
        how = child.describe_exit()
        child.schedule_restart()
        if child.name == WORKER and self._old_model is not None and child.failed_starts >= _MAX_FAILED_STARTS:
            log.error("the worker ended %d times with the new model (%s)", child.failed_starts, how)
            self._restore_model()
        needed = child.name != RECORDER and not is_prompter(child.name)  # the daemon works without them
        if needed and child.failed_starts >= _MAX_FAILED_STARTS and not child.was_ready:
            text = f"{child.name} ended {child.failed_starts} times before it was ready ({how})"
            self._on_report(child, Report("fatal", text, ProcessError.exit_code))
            return
        if child.name == WORKER:
            self._children[CONTROL].send(WorkerGone())
        log.error("%s ended (%s): restart in %.1f s", child.name, how, child.restart_in_s())
        self._announcer.process_died(child.name, how)

    def _change_model(self, model: ModelConfig) -> None:
        """Replace the worker with one that has another model and continues from the objects' last masks."""
        old, self._old_model = self._table.config.model, self._old_model or self._table.config.model
        log.info("the model changes from %s to %s", old.name, model.name)
        self._table.use_model(model)
        worker = self._children[WORKER]
        worker.send(SaveMasks())
        worker.stop_for_restart(_SAVE_MASKS_S)
        for message in (WorkerGone(), self._table.info(self._streams.running)):
            self._children[CONTROL].send(message)
        self._announcer.process_died(WORKER, f"the model changes from {old.name} to {model.name}")

    def _restore_model(self) -> None:
        """Go back to the model that worked."""
        assert self._old_model is not None
        log.error("back to the model %s", self._old_model.name)
        self._table.use_model(self._old_model)
        self._old_model = None
        self._children[CONTROL].send(self._table.info(self._streams.running))

    def _start(self, child: Child) -> None:
        """Start a child of the daemon as a whole, with up-to-date arguments."""
        child.replace_entry(self._table.entry(child.name, self._streams.running))
        child.start()

    # --- the end ----------------------------------------------------------------------------------------------------

    def _stop_children(self) -> None:
        """Stop all children; the publisher last, so that it can still send the others' last messages."""
        others = [child for child in self._children.values() if child.name != PUBLISHER] + self._streams.stopping()
        for group in (others, [self._children[PUBLISHER]]):
            stop_children(group, stop_s=_STOP_S, terminate_s=_TERMINATE_S)

    def _remove_stale_sockets(self) -> None:
        """Remove the socket files of children that were killed before they could do it."""
        control = self.control_endpoint or self._config.control.endpoint or default_control_endpoint()
        for endpoint in (*self._config.publish.endpoints, control):
            remove_stale_socket(endpoint)
