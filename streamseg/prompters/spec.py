"""What a prompter process needs to know. The supervisor imports only this, not the process."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamseg.config.schema import LogConfig, PrompterConfig
from streamseg.ring.layout import Role


@dataclass(frozen=True)
class PrompterSpec:
    """Everything a prompter process needs to know.

    Attributes:
        stream: Id of the stream.
        name: Name of the prompter.
        config: Its settings.
        role: Its role on the stream's ring.
        endpoint: Where the worker listens.
        log: What to log.
    """

    stream: str
    name: str
    config: PrompterConfig
    role: Role
    endpoint: str
    log: LogConfig = field(default_factory=LogConfig)
