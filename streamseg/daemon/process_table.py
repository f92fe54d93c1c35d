"""The process table: what each process of the daemon runs, and how long it may be silent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from streamseg import __version__
from streamseg.capture.spec import CaptureSpec
from streamseg.config.relative import key_folder
from streamseg.config.schema import Config, ModelConfig, StreamConfig
from streamseg.control.spec import ControlSpec
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.ipc.supervisor_messages import DaemonInfo
from streamseg.paths import socket_endpoint
from streamseg.prompters.spec import PrompterSpec
from streamseg.publish.spec import PublisherSpec
from streamseg.record.spec import RecorderSpec
from streamseg.ring.frame_ring import FrameRing
from streamseg.ring.layout import Role
from streamseg.security.key_folder import KeyFolder
from streamseg.sources.address import shown_address
from streamseg.web.spec import WebSpec
from streamseg.worker.spec import SnapshotSpec, WorkerSpec

PUBLISHER = "publisher"
WORKER = "worker"
CONTROL = "control"
WEB = "web"
RECORDER = "recorder"
_PROMPTER: Final = "prompter:"

_SILENCE_S: Final = 5.0
"""Every process sends a message each second."""
_DISK_SILENCE_S: Final = 60.0
"""A slow disk or a network file system may block a write of the recorder for this long."""
_WORKER_BUSY_S: Final = 30.0
_BUSY_S: Final = 10.0
_START_S: Final = 30.0
_PROMPTER_START_S: Final = 60.0
"""A prompter may import a framework and read a model from a slow disk, without using CPU."""
_WORKER_START_S: Final = 120.0
"""The worker reads checkpoints, maybe from a slow disk. Compilation and warm-up send messages."""


@dataclass(slots=True)
class RunningStream:
    """A stream of the running daemon.

    Attributes:
        settings: Its current settings.
        ring: Its frame ring.
        saved: The worker's objects, if they differ from the settings.
        from_file: Whether it comes from the configuration file; otherwise it was added on request.
        roles: Prompter -> its role on the ring.
    """

    settings: StreamConfig
    ring: FrameRing
    saved: SavedStream | None = None
    from_file: bool = True
    roles: dict[str, Role] = field(default_factory=dict)


@dataclass(frozen=True)
class ProcessEntry:
    """One process.

    Attributes:
        name: ``publisher``, ``worker``, ``control``, ``web``, ``recorder``, ``capture:STREAM`` or
            ``prompter:STREAM:NAME``.
        module: Module whose ``main(*args, connection)`` the child runs.
        args: Arguments of ``main``.
        ready_timeout_s: Longest silence until it is ready, without using CPU.
        silence_timeout_s: Longest silence once it is ready, without using CPU; then it is killed and restarted.
            Longer for a process that reports slow steps.
        busy_timeout_s: Longest silence once it is ready, while it uses CPU, if that is longer.
    """

    name: str
    module: str
    args: tuple[Any, ...]
    ready_timeout_s: float
    silence_timeout_s: float
    busy_timeout_s: float = 0.0


class ProcessTable:
    """Builds the entries from the daemon's state at the time of a start.

    Args:
        config: Checked settings. Its streams are not used: they change at runtime.
        session: Id of this run of the daemon.
        runtime: Folder for the daemon's own sockets.
        kept: Folder for state that outlives the daemon; None if there is none.

    Attributes:
        config: Settings in use.
        publish: Addresses at which masks are published. Ports ``*`` become real ones once the publisher is ready.
        internal_endpoint: Address of the publisher for the other processes.
        control_endpoint: Address for requests; empty until the control process is ready.
        listen: Address of the web page, with its real port once the web process is ready; None without a page.
    """

    def __init__(self, config: Config, *, session: str, runtime: Path, kept: Path | None = None) -> None:
        self.config = config
        self._session = session
        self._runtime = runtime
        self._snapshots = SnapshotSpec(
            runtime / "state" if kept is None else kept,
            durable=kept is not None,
            every_s=config.state.every_s,
            max_age_s=config.state.max_age_s,
            session=session,
        )
        self.publish = config.publish.endpoints
        self.internal_endpoint = socket_endpoint(runtime, "internal")
        self.control_endpoint = ""
        self.listen = config.http.listen
        self._commands_endpoint = socket_endpoint(runtime, "commands")
        self._prompters_endpoint = socket_endpoint(runtime, "prompters")
        self._worker_id = b"worker-" + secrets.token_bytes(16)
        self._local_endpoint = socket_endpoint(runtime, "publish")
        self._local_control = socket_endpoint(runtime, "requests")
        self._keys = key_folder(config.security).path

    def use_model(self, model: ModelConfig) -> None:
        """Use another model from the next start of the worker on."""
        self.config = msgspec.structs.replace(self.config, model=model)

    @property
    def records(self) -> bool:
        """Whether there is a recorder, for a recording or for clips."""
        return self.config.record.path is not None or self.config.record.clips.path is not None

    def info(self, streams: Mapping[str, RunningStream]) -> DaemonInfo:
        """Return what the control process tells clients about the daemon."""
        model = self.config.model
        sources = {stream: shown_address(running.settings.source) for stream, running in streams.items()}
        return DaemonInfo(tuple(streams), self.publish, model.name, model.max_objects, sources)

    def entry(self, name: str, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        """Return the entry of a process that belongs to no stream, with its up-to-date arguments."""
        make = {
            PUBLISHER: self._publisher,
            WORKER: self._worker,
            CONTROL: self._control,
            WEB: self._web,
            RECORDER: self._recorder,
        }
        return make[name](streams)

    def _publisher(self, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        spec = PublisherSpec(
            session=self._session,
            publish=msgspec.structs.replace(self.config.publish, endpoints=self.publish),
            internal_endpoint=self.internal_endpoint,
            commands_endpoint=self._commands_endpoint,
            streams={stream: shown_address(running.settings.source) for stream, running in streams.items()},
            model=self.config.model.name,
            version=__version__,
            local_endpoint=self._local_endpoint if self.listen or self.records else None,
            keys=self._keys,
            log=self.config.log,
        )
        return ProcessEntry(
            PUBLISHER, "streamseg.publish.process", (spec, _rings(streams)), _START_S, _SILENCE_S, _BUSY_S
        )

    def _worker(self, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        spec = WorkerSpec(
            model=self.config.model,
            streams={stream: running.settings for stream, running in streams.items()},
            internal_endpoint=self.internal_endpoint,
            commands_endpoint=self._commands_endpoint,
            prompters_endpoint=self._prompters_endpoint,
            worker_id=self._worker_id,
            saved={stream: running.saved for stream, running in streams.items() if running.saved is not None},
            snapshots=self._snapshots,
            log=self.config.log,
        )
        return ProcessEntry(
            WORKER, "streamseg.worker.process", (spec, _rings(streams)), _WORKER_START_S, _SILENCE_S, _WORKER_BUSY_S
        )

    def _control(self, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        spec = ControlSpec(
            session=self._session,
            endpoint=self.config.control.endpoint,
            other_endpoint=socket_endpoint(self._runtime, "control"),
            commands_endpoint=self._commands_endpoint,
            version=__version__,
            info=self.info(streams),
            worker_id=self._worker_id,
            local_endpoint=self._local_control,
            keys=self._keys,
            allow_unauthenticated=self.config.control.allow_unauthenticated,
            log=self.config.log,
        )
        return ProcessEntry(CONTROL, "streamseg.control.process", (spec,), _START_S, _SILENCE_S, _BUSY_S)

    def _web(self, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        # It gets the streams from the control process.
        publish = self.config.publish
        endpoint = publish.endpoints[0]
        spec = WebSpec(
            http=msgspec.structs.replace(self.config.http, listen=self.listen),
            publish_endpoint=self._local_endpoint,
            subscribe_endpoint=endpoint,
            key_command=KeyFolder(self._keys).authorize_command() if publish.needs_key(endpoint) else "",
            control_endpoint=self._local_control,
            clips=self.config.record.clips,
            keys=self._keys,
            log=self.config.log,
        )
        return ProcessEntry(WEB, "streamseg.web.process", (spec,), _START_S, _SILENCE_S, _BUSY_S)

    def _recorder(self, streams: Mapping[str, RunningStream]) -> ProcessEntry:
        # It discovers the streams as any subscriber does.
        spec = RecorderSpec(
            record=self.config.record,
            publish_endpoint=self._local_endpoint,
            internal_endpoint=self.internal_endpoint,
            log=self.config.log,
        )
        return ProcessEntry(RECORDER, "streamseg.record.process", (spec,), _START_S, _DISK_SILENCE_S, _BUSY_S)

    def capture(self, stream: str, running: RunningStream) -> ProcessEntry:
        """Return the entry of a stream's capture process."""
        settings = running.settings
        spec = CaptureSpec(
            stream=stream, config=settings, internal_endpoint=self.internal_endpoint, log=self.config.log
        )
        # Its heartbeats stop when the source does not return within its own timeouts.
        args = (spec, running.ring)
        return ProcessEntry(capture_name(stream), "streamseg.capture.process", args, _START_S, _SILENCE_S, _BUSY_S)

    def prompter(self, stream: str, running: RunningStream, name: str) -> ProcessEntry:
        """Return the entry of one of a stream's prompters."""
        config = running.settings.prompters[name]
        spec = PrompterSpec(
            stream=stream,
            name=name,
            config=config,
            role=running.roles[name],
            endpoint=self._prompters_endpoint,
            log=self.config.log,
        )
        # It is silent during a call, even while it computes.
        silence_s = max(config.timeout_s, _SILENCE_S)
        args = (spec, running.ring)
        return ProcessEntry(
            prompter_name(stream, name), "streamseg.prompters.process", args, _PROMPTER_START_S, silence_s, silence_s
        )


def _rings(streams: Mapping[str, RunningStream]) -> dict[str, FrameRing]:
    return {stream: running.ring for stream, running in streams.items()}


def prompter_name(stream: str, prompter: str) -> str:
    """Return the name of the process of one of a stream's prompters."""
    return f"{_PROMPTER}{stream}:{prompter}"


def is_prompter(process: str) -> bool:
    """Return whether a process is a prompter, by its name."""
    return process.startswith(_PROMPTER)


def capture_name(stream: str) -> str:
    """Return the name of a stream's capture process."""
    return f"capture:{stream}"
