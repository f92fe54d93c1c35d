"""What a worker needs to know. The supervisor imports only this, not the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamseg.config.schema import LogConfig, ModelConfig, StreamConfig
from streamseg.ipc.command_socket import WORKER_ID
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.state.folder import StateFolder


@dataclass(frozen=True, slots=True)
class SnapshotSpec:
    """Where snapshots are and how often they are taken.

    Attributes:
        path: The folder.
        durable: Whether they outlive the daemon: if so, they are synced to disk.
        every_s: Seconds between two snapshots of a stream.
        max_age_s: Maximum age of a snapshot that is used.
        session: Id of this run of the daemon.
    """

    path: Path
    durable: bool = False
    every_s: float = 5.0
    max_age_s: float = 3600.0
    session: str = ""

    @property
    def folder(self) -> StateFolder:
        """The folder."""
        return StateFolder(self.path, durable=self.durable)


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to know.

    Attributes:
        model: Settings of the model.
        streams: Stream id -> settings.
        internal_endpoint: Address of the publisher.
        commands_endpoint: Address of the control process.
        prompters_endpoint: Where to listen for prompters.
        worker_id: Routing id by which the control process addresses it.
        saved: Stream id -> objects of an earlier worker, if they differ from the settings.
        snapshots: Where the memory of the streams' objects is saved.
        log: What to log.
    """

    model: ModelConfig
    streams: Mapping[str, StreamConfig]
    internal_endpoint: str
    commands_endpoint: str
    snapshots: SnapshotSpec
    prompters_endpoint: str
    worker_id: bytes = WORKER_ID
    saved: Mapping[str, SavedStream] = field(default_factory=dict)
    log: LogConfig = field(default_factory=LogConfig)
