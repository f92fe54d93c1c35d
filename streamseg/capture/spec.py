"""What a capture process needs to know. The supervisor imports only this, not the process."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamseg.config.schema import LogConfig, StreamConfig


@dataclass(frozen=True)
class CaptureSpec:
    """Everything a capture process needs to know.

    Attributes:
        stream: Id of the stream.
        config: Settings of the stream.
        internal_endpoint: Address of the publisher.
        log: What to log.
    """

    stream: str
    config: StreamConfig
    internal_endpoint: str
    log: LogConfig = field(default_factory=LogConfig)
