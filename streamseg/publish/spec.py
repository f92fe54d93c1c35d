"""What a publisher needs to know. The supervisor imports only this, not the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamseg.config.schema import LogConfig, PublishConfig
from streamseg.security.key_folder import default_key_folder


@dataclass(frozen=True)
class PublisherSpec:
    """Everything a publisher needs to know.

    Attributes:
        session: Id of this run of the daemon.
        publish: Where and how to publish.
        internal_endpoint: Address for messages of the other processes.
        commands_endpoint: Address of the control process.
        streams: Stream id -> address of the source, without credentials.
        model: Name of the model.
        version: Version of streamseg.
        local_endpoint: Additional address for processes of this daemon.
        keys: Folder of the daemon's keys.
        log: What to log.
    """

    session: str
    publish: PublishConfig
    internal_endpoint: str
    commands_endpoint: str
    streams: Mapping[str, str]
    model: str
    version: str
    local_endpoint: str | None = None
    keys: Path = field(default_factory=default_key_folder)
    log: LogConfig = field(default_factory=LogConfig)
