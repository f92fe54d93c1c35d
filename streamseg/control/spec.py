"""Arguments of the control process. The supervisor imports only this, not the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamseg.config.schema import LogConfig
from streamseg.ipc.command_socket import WORKER_ID
from streamseg.ipc.supervisor_messages import DaemonInfo
from streamseg.security.key_folder import default_key_folder


@dataclass(frozen=True)
class ControlSpec:
    """Arguments of the control process.

    Attributes:
        session: Id of this run of the daemon.
        endpoint: Where to listen; None: at the user's default address, if it is free.
        other_endpoint: Where to listen if the default address is taken.
        commands_endpoint: Where to listen for the worker and the publisher.
        version: Version of streamseg.
        info: The state of the daemon at the start.
        worker_id: Routing id of the worker, known to no one else.
        command_timeout_s: Timeout of a command.
        local_endpoint: Additional address for processes of this daemon.
        keys: Folder of the daemon's keys.
        allow_unauthenticated: A loopback tcp endpoint needs no key.
        log: Log settings.
    """

    session: str
    endpoint: str | None
    other_endpoint: str
    commands_endpoint: str
    version: str
    info: DaemonInfo
    worker_id: bytes = WORKER_ID
    command_timeout_s: float = 10.0
    local_endpoint: str | None = None
    keys: Path = field(default_factory=default_key_folder)
    allow_unauthenticated: bool = False
    log: LogConfig = field(default_factory=LogConfig)
