"""Parameters of the recorder process. The supervisor imports only this, not the process."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamseg.config.schema import LogConfig, RecordConfig


@dataclass(frozen=True)
class RecorderSpec:
    """Parameters of the recorder process.

    Attributes:
        record: What to record, and where.
        publish_endpoint: Where the daemon publishes.
        internal_endpoint: Where the publisher takes events.
        log: Log settings.
        retry_s: Time after which a stopped recording is retried.
    """

    record: RecordConfig
    publish_endpoint: str
    internal_endpoint: str
    log: LogConfig = field(default_factory=LogConfig)
    retry_s: float = 60.0
