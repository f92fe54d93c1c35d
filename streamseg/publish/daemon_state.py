"""Combines the newest reports about the daemon as a whole into its status."""

from __future__ import annotations

import time

import msgspec

from streamseg.ipc.messages import DaemonReport, RecorderReport, WorkerReport
from streamseg.protocol.published import DaemonStatus
from streamseg.protocol.topics import RATES_HZ
from streamseg.publish.stream_encoder import Origin


class DaemonState:
    """Gathers the status of the daemon.

    Args:
        version: Version of streamseg.
        origin: Identity of the publisher.
    """

    def __init__(self, version: str, origin: Origin) -> None:
        self._version = version
        self._origin = origin
        self._daemon = DaemonReport(uptime_s=0.0, processes={}, restarts={})
        self._worker = WorkerReport(model=origin.model, device="", tracked={}, drops={})
        self._recorder: RecorderReport | None = None

    def take(self, report: DaemonReport | WorkerReport | RecorderReport) -> None:
        """Take a report."""
        match report:
            case DaemonReport():
                self._daemon = report
            case WorkerReport():
                self._worker = report
            case RecorderReport():
                self._recorder = report

    def message(self, seq: int, streams: list[str]) -> DaemonStatus:
        """Return the status.

        Args:
            seq: Number of the message.
            streams: Ids of all streams.
        """
        return DaemonStatus(
            session=self._origin.session,
            publisher=self._origin.publisher,
            seq=seq,
            t_wall_ns=str(time.time_ns()),
            clock=self._origin.clock,
            version=self._version,
            model=self._origin.model,
            device=self._worker.device,
            uptime_s=round(self._daemon.uptime_s, 3),
            streams=streams,
            processes=self._daemon.processes,
            restarts=self._daemon.restarts,
            device_memory_bytes=self._worker.device_memory_bytes,
            recompiles=self._worker.recompiles,
            engine=self._worker.engine,
            rates=list(RATES_HZ),
            log_dropped=self._daemon.log_dropped,
            recording_stopped=msgspec.UNSET if self._recorder is None else self._recorder.stopped,
        )
