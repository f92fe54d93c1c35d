"""Parameters of the web process. The supervisor imports only this, not the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamseg.config.schema import ClipsConfig, HttpConfig, LogConfig
from streamseg.security.key_folder import default_key_folder


@dataclass(frozen=True)
class WebSpec:
    """Parameters of the web process.

    Attributes:
        http: Address and access control.
        publish_endpoint: Where the daemon publishes to its own processes.
        subscribe_endpoint: Where other programs subscribe.
        key_command: Command that makes the key they need there; empty if they need none.
        control_endpoint: Where the daemon takes requests.
        clips: Settings of the clips that the recorder makes.
        keys: Folder of the daemon's keys and tokens.
        log: Log settings.
    """

    http: HttpConfig
    publish_endpoint: str
    subscribe_endpoint: str
    key_command: str
    control_endpoint: str
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    keys: Path = field(default_factory=default_key_folder)
    log: LogConfig = field(default_factory=LogConfig)
